/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the machine must know of an x86-64 instruction; emu/hw/x86_insn.py says the same in Python. */
#ifndef MMSCOPE_X86_INSN_H
#define MMSCOPE_X86_INSN_H

#include <stdbool.h>
#include <stdint.h>

enum { LONGEST = 15, NO_REGISTER = -1, RIP = 16 };

/* Laid out as class _Instruction in tests/hw/test_x86_insn.py. */
struct x86_insn {
    int32_t size;         /* bytes */
    int32_t map;          /* 0: one byte of opcode, 1: 0F, 2: 0F 38, 3: 0F 3A */
    int32_t op;
    int32_t prefix;       /* F3 or F2, else 66, else 0 */
    int32_t segment;      /* 0x64 FS, 0x65 GS, 0 */
    int32_t narrow;       /* addresses are of 32 bits */
    int32_t wide;         /* REX.W */
    int32_t small;        /* operands are of 16 bits: 66 without REX.W */
    int32_t modrm;        /* that byte, or -1 */
    int32_t reg, rm;      /* numbers of registers with what REX adds */
    int32_t base, index;  /* of the memory operand: a register, NO_REGISTER, or RIP as base */
    int32_t shift;        /* of the index */
    int32_t displacement;
    int32_t immediate;    /* of up to four bytes */
};

bool mmscope_decode(const uint8_t *code, int size, struct x86_insn *insn);
bool mmscope_modifies_memory(const struct x86_insn *insn);
bool mmscope_wants_alignment(const struct x86_insn *insn);
bool mmscope_may_write(const struct x86_insn *insn, int reg);
int mmscope_adds(const struct x86_insn *insn, int *added);

#endif
