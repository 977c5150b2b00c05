/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Decodes x86-64 instructions (Intel SDM volume 2, appendix A); the twin of emu/hw/x86_insn.py. */
#include "_x86_insn.h"
#include <string.h>

static bool is_prefix(int byte)
{
    return byte == 0x66 || byte == 0x67 || byte == 0xf0 || byte == 0xf2 || byte == 0xf3 || (byte & 0xe7) == 0x26 ||
           byte == 0x64 || byte == 0x65;
}

static bool in_range(int value, int low, int high) { return value >= low && value <= high; }

static bool has_modrm(int map, int op)
{
    if (map >= 2)
        return true;
    if (map == 1)
        return !(in_range(op, 0x04, 0x0c) || op == 0x0e || in_range(op, 0x24, 0x27) || in_range(op, 0x30, 0x3f) || op == 0x77 ||
                 in_range(op, 0x80, 0x8f) || in_range(op, 0xa0, 0xa2) || in_range(op, 0xa6, 0xaa) || in_range(op, 0xc8, 0xcf));
    if (op < 0x40)
        return (op & 7) < 4;
    return op == 0x63 || op == 0x69 || op == 0x6b || in_range(op, 0x80, 0x8f) || op == 0xc0 || op == 0xc1 || op == 0xc6 ||
           op == 0xc7 || in_range(op, 0xd0, 0xd3) || in_range(op, 0xd8, 0xdf) || op == 0xf6 || op == 0xf7 || op == 0xfe || op == 0xff;
}

/* Bytes of immediate operands; -1: an opcode that 64-bit mode does not have, or one of VEX, EVEX, XOP and SSE4a. */
static int immediate(const struct x86_insn *i)
{
    int op = i->op, reg = i->modrm >> 3 & 7, word = i->small ? 2 : 4;
    if (i->map == 3)
        return 1;
    if (i->map == 2)
        return 0;
    if (i->map == 1) {
        if (in_range(op, 0x80, 0x8f))
            return 4;
        if (op == 0x04 || op == 0x0a || op == 0x0c || in_range(op, 0x24, 0x27) || in_range(op, 0x39, 0x3f) || op == 0xa6 ||
            op == 0xa7 || op == 0x36 || (op == 0x78 && i->prefix))
            return -1;
        return op == 0x0f || in_range(op, 0x70, 0x73) || op == 0xa4 || op == 0xac || op == 0xba || op == 0xc2 ||
               in_range(op, 0xc4, 0xc6);
    }
    if (op < 0x40)
        return (op & 7) == 4 ? 1 : (op & 7) == 5 ? word : (op & 7) >= 6 ? -1 : 0;
    switch (op) {
    case 0x60: case 0x61: case 0x62: case 0x82: case 0x9a: case 0xc4: case 0xc5: case 0xd4: case 0xd5: case 0xd6: case 0xea:
        return -1;
    case 0x8f: return reg ? -1 : 0;
    case 0x68: case 0x69: case 0x81: case 0xa9: case 0xc7: return word;
    case 0x6a: case 0x6b: case 0x80: case 0x83: case 0xa8: case 0xc0: case 0xc1: case 0xc6: case 0xcd: case 0xeb: return 1;
    case 0xc2: case 0xca: return 2;
    case 0xc8: return 3;
    case 0xe8: case 0xe9: return 4;
    case 0xf6: return reg < 2;
    case 0xf7: return reg < 2 ? word : 0;
    }
    if (in_range(op, 0xa0, 0xa3))
        return i->narrow ? 4 : 8;
    if (in_range(op, 0xb8, 0xbf))
        return i->wide ? 8 : word;
    return in_range(op, 0x70, 0x7f) || in_range(op, 0xb0, 0xb7) || in_range(op, 0xe0, 0xe7);
}

/* False: cut off, or not known. */
bool mmscope_decode(const uint8_t *code, int size, struct x86_insn *i)
{
    int at = 0, rex = 0, operand = 0, repeat = 0;
    memset(i, 0, sizeof *i);
    i->modrm = i->base = i->index = -1;
    if (size > LONGEST)
        size = LONGEST;
    for (; at < size && (is_prefix(code[at]) || (code[at] & 0xf0) == 0x40); at++) {
        int byte = code[at];
        rex = (byte & 0xf0) == 0x40 ? byte : 0; /* counts only right before the opcode */
        if (byte == 0x66)
            operand = byte;
        else if (byte == 0x67)
            i->narrow = 1;
        else if (byte == 0xf2 || byte == 0xf3)
            repeat = byte;
        else if (byte == 0x64 || byte == 0x65)
            i->segment = byte;
    }
    i->prefix = repeat ? repeat : operand;
    i->wide = rex >> 3 & 1;
    i->small = operand && !i->wide;
    if (at < size && code[at] == 0x0f) {
        at++;
        i->map = 1;
        if (at < size && (code[at] == 0x38 || code[at] == 0x3a))
            i->map = code[at++] == 0x38 ? 2 : 3;
    }
    if (at >= size)
        return false;
    i->op = code[at++];
    if (has_modrm(i->map, i->op)) {
        if (at >= size)
            return false;
        int modrm = i->modrm = code[at++], mod = modrm >> 6, rm = modrm & 7, bytes = mod == 1 ? 1 : mod == 2 ? 4 : 0;
        i->reg = (modrm >> 3 & 7) | (rex << 1 & 8);
        i->rm = rm | (rex << 3 & 8);
        if (mod != 3) {
            i->base = i->rm;
            if (rm == 4) {
                if (at >= size)
                    return false;
                int sib = code[at++], index = (sib >> 3 & 7) | (rex << 2 & 8);
                i->shift = sib >> 6;
                i->index = index == 4 ? NO_REGISTER : index;
                i->base = (sib & 7) | (rex << 3 & 8);
                if ((sib & 7) == 5 && mod == 0) {
                    i->base = NO_REGISTER;
                    bytes = 4;
                }
            } else if (rm == 5 && mod == 0) {
                i->base = RIP;
                bytes = 4;
            }
            if (at + bytes > size)
                return false;
            if (bytes == 1)
                i->displacement = (int8_t)code[at];
            else if (bytes == 4)
                memcpy(&i->displacement, code + at, 4);
            at += bytes;
        }
    }
    int bytes = immediate(i);
    if (bytes < 0 || at + bytes > size)
        return false;
    if (bytes == 1)
        i->immediate = (int8_t)code[at];
    else if (bytes == 4)
        memcpy(&i->immediate, code + at, 4);
    i->size = at + bytes;
    return true;
}

/* Does it read memory, change it and write it back? The hardware asks for such an access as a write from the start; the
 * engine loads first and stores later. */
bool mmscope_modifies_memory(const struct x86_insn *i)
{
    int op = i->op, reg = i->modrm >> 3 & 7;
    if (i->modrm < 0 || i->modrm >= 0xc0 || i->map >= 2)
        return false;
    if (i->map == 1)
        return op == 0xa4 || op == 0xa5 || op == 0xac || op == 0xad || op == 0xab || op == 0xb3 || op == 0xbb || op == 0xb0 ||
               op == 0xb1 || op == 0xc0 || op == 0xc1 || (op == 0xba && reg >= 5) || (op == 0xc7 && reg == 1);
    if (op < 0x40)
        return (op & 7) <= 1 && op >> 3 != 7;
    switch (op) {
    case 0x80: case 0x81: case 0x83: return reg != 7;
    case 0x86: case 0x87: case 0xc0: case 0xc1: case 0xd0: case 0xd1: case 0xd2: case 0xd3: return true;
    case 0xf6: case 0xf7: return reg == 2 || reg == 3;
    case 0xfe: case 0xff: return reg <= 1;
    }
    return false;
}

/* Is a general protection exception raised where its operand of 16 bytes in memory is not aligned (volume 2, 2.4: the
 * exceptions of types 1, 2 and 4)? */
bool mmscope_wants_alignment(const struct x86_insn *i)
{
    int op = i->op, plain = i->prefix == 0, data = i->prefix == 0x66;
    if (i->modrm < 0 || i->modrm >= 0xc0)
        return false;
    if (i->map == 2)
        return data ? op <= 0x0b || op == 0x10 || op == 0x14 || op == 0x15 || op == 0x17 || in_range(op, 0x1c, 0x1e) ||
                          in_range(op, 0x28, 0x2b) || in_range(op, 0x37, 0x41) || op == 0xcf || in_range(op, 0xdb, 0xdf)
                    : plain && in_range(op, 0xc8, 0xcd);
    if (i->map == 3)
        return data ? op == 0x08 || op == 0x09 || in_range(op, 0x0c, 0x0f) || in_range(op, 0x40, 0x42) || op == 0x44 ||
                          op == 0xce || op == 0xcf || op == 0xdf
                    : plain && op == 0xcc;
    if (i->map != 1)
        return false;
    if (plain || data) {
        if (op == 0x14 || op == 0x15 || op == 0x28 || op == 0x29 || op == 0x2b || op == 0x51 || in_range(op, 0x54, 0x59) ||
            in_range(op, 0x5b, 0x5f) || op == 0xc2 || op == 0xc6)
            return true;
        if (plain)
            return op == 0x52 || op == 0x53;
        return op == 0x2c || op == 0x2d || op == 0x5a || in_range(op, 0x60, 0x6d) || op == 0x6f || op == 0x70 ||
               in_range(op, 0x74, 0x76) || op == 0x7c || op == 0x7d || op == 0x7f || in_range(op, 0xd0, 0xd5) ||
               (in_range(op, 0xd8, 0xfe) && op != 0xf0 && op != 0xf7);
    }
    if (i->prefix == 0xf3)
        return op == 0x12 || op == 0x16 || op == 0x5b || op == 0x70;
    return op == 0x70 || op == 0x7c || op == 0x7d || op == 0xd0 || op == 0xe6;
}

/* Numbers 4 to 7 are AH to BH as well, which lie in the first four. */
static bool is_or_holds(int reg, int number) { return reg == number || (in_range(number, 4, 7) && reg == number - 4); }

/* May it write the general register `reg`? False is certain. */
bool mmscope_may_write(const struct x86_insn *i, int reg)
{
    int op = i->op;
    if (i->modrm < 0) {
        if (i->map == 0 && in_range(op, 0x50, 0x57)) /* PUSH */
            return reg == 4;
        if (i->map == 0 && in_range(op, 0x58, 0x5f)) /* POP */
            return reg == 4 || (reg & 7) == (op & 7);
        if (i->map == 0 && in_range(op, 0xb0, 0xbf)) /* MOV */
            return (reg & 3) == (op & 3);
        return true;
    }
    if (mmscope_wants_alignment(i) || (i->map == 1 && (in_range(op, 0x10, 0x17) || op == 0x6f || op == 0x7f || op == 0xd6)))
        return false;
    if (i->map == 0 ? op == 0xf6 || op == 0xf7 || op == 0xff || op == 0x8f || in_range(op, 0xd0, 0xdf)
                    : op <= 0x01 || in_range(op, 0xb0, 0xb1) || op == 0xc7 || op == 0xae)
        return true;
    return is_or_holds(reg, i->reg) || (i->modrm >= 0xc0 && is_or_holds(reg, i->rm));
}

/* Does it add a constant to a general register, of 64 bits, and change no other: which register, and in `added` what;
 * else -1. */
int mmscope_adds(const struct x86_insn *i, int *added)
{
    int group = i->modrm >> 3 & 7;
    if (i->map == 0 && in_range(i->op, 0x50, 0x57) && !i->small) { /* PUSH */
        *added = -8;
        return 4;
    }
    if (i->map == 0 && i->wide && (i->op == 0x81 || i->op == 0x83) && i->modrm >= 0xc0 && (group == 0 || group == 5)) {
        *added = group ? -i->immediate : i->immediate;
        return i->rm;
    }
    if (i->map == 0 && i->wide && i->op == 0x8d && i->base == i->reg && i->index < 0 && !i->narrow) { /* LEA */
        *added = i->displacement;
        return i->reg;
    }
    return -1;
}
