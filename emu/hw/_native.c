/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The hardware in C: the page-table walk, the block counter and the trap latch.
 *
 * A plain shared library without Python.h, loaded with ctypes. It is not linked against Unicorn: the addresses of the
 * few functions that it calls are put into `struct engine` by emu/hw/engine.py. emu/hw/mmu.py and emu/hw/engine.py
 * hold the same things in Python; both give identical traces, and a test compares the walks on random tables.
 *
 * Figures (2 cores, Python 3.11): a refill of the TLB 0.12 us here against 0.8 us in Python; a block 0.5 ns against 50 ns.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { READ, WRITE, FETCH };
enum { X86_64, ARM64, PPC64_RADIX, PPC32 };
enum { UC_MEM_READ = 16, UC_MEM_WRITE, UC_MEM_FETCH };
enum { PERM_READ = 1, PERM_WRITE = 2, PERM_EXEC = 4 };
enum { TRAP_GP = 13 };
enum { STOP_BUDGET, STOP_FAULT, STOP_TRAP, STOP_HALTED, STOP_SPLIT_FETCH }; /* class Stop, and one that Engine.run deals with */
enum { UC_ERR_OK, UC_ERR_EXCEPTION = 21 };
enum { NO_TRAP = -1000, TRAP_SYSCALL = -1, TRAP_ILLEGAL = -2 };

typedef struct { uint64_t paddr; int perms; } tlb_entry;

/* One engine. Laid out as class _EngineState in emu/hw/engine.py. */
struct engine {
    uint8_t *ram;
    uint8_t *code_map;
    uint64_t root;
    uint64_t count;        /* bytes of code in all blocks entered */
    uint64_t limit;        /* stop before the block that begins at or past this count */
    uint64_t block_start, block_size;
    uint64_t retired;      /* exact count at the last fault or stop */
    uint64_t ip;           /* of the last fault */
    uint64_t address;      /* of the last fault, exact when `interposed` */
    uint64_t syndrome;
    uint64_t fills;
    int64_t trap;
    int32_t format;
    int32_t pc_reg;
    int32_t access;
    int32_t over;          /* the last run ended because the budget was used up */
    int32_t interposed;    /* exact addresses are known inside the callback */
    int32_t split_fetch;   /* the last fault was a fetch beyond the page of ip */
    int (*reg_read)(void *uc, int reg, void *value);
    int (*emu_stop)(void *uc);
    int (*on_fault)(uint64_t address, uint64_t syndrome, uint64_t ip);
    int (*emu_start)(void *uc, uint64_t begin, uint64_t until, uint64_t timeout, size_t count);
    uint64_t pc;           /* where the last run stopped */
    int32_t error;         /* of emu_start */
    int32_t identity;      /* addresses are physical ones: translated code of a frame is being dropped */
    uint32_t pkru;         /* x86: what the protection keys forbid */
};

static uint64_t load64(const uint8_t *ram, uint64_t at) { uint64_t v; memcpy(&v, ram + at, 8); return v; }
static void store64(uint8_t *ram, uint64_t at, uint64_t v) { memcpy(ram + at, &v, 8); }
static uint64_t load64be(const uint8_t *ram, uint64_t at) { return __builtin_bswap64(load64(ram, at)); }
static uint32_t load32be(const uint8_t *ram, uint64_t at) { uint32_t v; memcpy(&v, ram + at, 4); return __builtin_bswap32(v); }

/* Intel SDM volume 3, 4.5 and 4.6.2: four-level paging, with NX and protection keys, SMEP and SMAP apart. The error code
 * is that of #PF. */
static int walk_x86(uint8_t *ram, uint64_t root, uint64_t va, int access, int user, uint32_t pkru, uint64_t *paddr, int *perms,
                    uint64_t *syndrome)
{
    const uint64_t frame = 0x000ffffffffff000ull;
    uint64_t code = (user ? 4 : 0) | (access == WRITE ? 2 : 0) | (access == FETCH ? 0x10 : 0);
    uint64_t slots[4], table = root, e = 0;
    int rw = 1, us = 1, nx = 0, shift = 39;
    for (int level = 0; level < 4; level++, shift -= 9) {
        slots[level] = table + (va >> shift & 511) * 8;
        e = load64(ram, slots[level]);
        if (!(e & 1)) { *syndrome = code; return 0; }
        if (level < 3 && (e & 0x80)) { *syndrome = code | 9; return 0; }
        rw &= e >> 1 & 1; us &= e >> 2 & 1; nx |= e >> 63;
        table = e & frame;
    }
    int denied = us ? pkru >> 2 * (e >> 59 & 15) & 3 : 0; /* 1: any access to data, 2: writes */
    int key = access == READ ? denied & 1 : access == WRITE ? denied : 0;
    if (key || (user && !us) || (access == WRITE && !rw) || (access == FETCH && nx)) {
        *syndrome = code | 1 | (key ? 0x20 : 0);
        return 0;
    }
    for (int level = 0; level < 3; level++) {
        uint64_t up = load64(ram, slots[level]);
        if (!(up & 0x20)) store64(ram, slots[level], up | 0x20);
    }
    uint64_t marked = e | 0x20 | (access == WRITE ? 0x40 : 0);
    if (marked != e) store64(ram, slots[3], marked);
    *paddr = e & frame;
    *perms = (denied & 1 ? 0 : PERM_READ) | (rw && !denied && (marked & 0x40) ? PERM_WRITE : 0) | (nx ? 0 : PERM_EXEC);
    return 1;
}

/* Arm ARM D8: stage 1, 4 KiB granule, 48-bit VA, TTBR0, no hardware update of AF or dirty state. The syndrome is ESR_ELx. */
static int walk_arm64(uint8_t *ram, uint64_t root, uint64_t va, int access, int user, uint64_t *paddr, int *perms, uint64_t *syndrome)
{
    const uint64_t frame = 0x0000fffffffff000ull;
    uint64_t ec = access == FETCH ? (user ? 0x20 : 0x21) : (user ? 0x24 : 0x25);
    uint64_t esr = ec << 26 | 1u << 25 | (access == WRITE ? 1 << 6 : 0);
    uint64_t table = root, e = 0;
    if (access != FETCH) va &= 0x00ffffffffffffffull; /* top byte ignored for data */
    if (va >> 48) { *syndrome = esr | 4; return 0; }
    for (int level = 0, shift = 39; level < 4; level++, shift -= 9) {
        e = load64(ram, table + (va >> shift & 511) * 8);
        if ((e & 3) != 3) { *syndrome = esr | 4 | level; return 0; }
        table = e & frame;
    }
    int rdonly = e >> 7 & 1, el0 = e >> 6 & 1, xn = user ? e >> 54 & 1 : e >> 53 & 1;
    if (!(e >> 10 & 1)) { *syndrome = esr | 8 | 3; return 0; }
    if ((user && !el0 && (access != FETCH || xn)) || (access == WRITE && rdonly) || (access == FETCH && xn)) {
        *syndrome = esr | 12 | 3;
        return 0;
    }
    *paddr = e & frame;
    *perms = (el0 || !user ? PERM_READ : 0) | (rdonly || (user && !el0) ? 0 : PERM_WRITE) | (xn ? 0 : PERM_EXEC);
    return 1;
}

/* Power ISA 3.0B book III 5.7.10: radix, entries big-endian, 13/9/9/9 bits. Syndrome: interrupt << 32 | DSISR or SRR1. */
static int walk_radix(uint8_t *ram, uint64_t root, uint64_t va, int access, int user, uint64_t *paddr, int *perms, uint64_t *syndrome)
{
    static const int shifts[4] = {39, 30, 21, 12}, bits[4] = {13, 9, 9, 9};
    const uint64_t frame = 0x01fffffffffff000ull;
    uint64_t base = (access == FETCH ? 0x400ull : 0x300ull) << 32;
    uint64_t store = access == WRITE ? 0x02000000 : 0;
    uint64_t table = root, at = 0, e = 0;
    if (va >> 62 == 3) { *syndrome = base | 0x40000000 | store; return 0; } /* the kernel's quadrant */
    if (va >> 52) { *syndrome = (access == FETCH ? 0x480ull : 0x380ull) << 32; return 0; }
    for (int level = 0; level < 4; level++) {
        at = table + (va >> shifts[level] & ((1u << bits[level]) - 1)) * 8;
        e = load64be(ram, at);
        if (!(e >> 63)) { *syndrome = base | 0x40000000 | store; return 0; }
        if (e >> 62 & 1) break;            /* a leaf */
        table = e & 0x0fffffffffffff00ull;
    }
    if (!(e >> 62 & 1)) { *syndrome = base | 0x40000000 | store; return 0; }
    int r = e >> 2 & 1, w = e >> 1 & 1, x = e & 1, privileged = e >> 3 & 1;
    if (access == FETCH && !x) { *syndrome = base | 0x10000000; return 0; }
    if ((user && privileged) || (access == READ && !r) || (access == WRITE && !w)) {
        *syndrome = base | 0x08000000 | store;
        return 0;
    }
    uint64_t marked = e | 0x100 | (access == WRITE ? 0x80 : 0);
    if (marked != e) store64(ram, at, __builtin_bswap64(marked));
    *paddr = e & frame;
    *perms = (r ? PERM_READ : 0) | (w && (marked & 0x80) ? PERM_WRITE : 0) | (x ? PERM_EXEC : 0);
    return 1;
}

/* The 603's software TLB miss handlers on Linux's two-level table. Syndrome as for radix. The handlers set nothing. */
static int walk_ppc32(uint8_t *ram, uint64_t root, uint64_t va, int access, int user, uint64_t *paddr, int *perms, uint64_t *syndrome)
{
    uint64_t base = (access == FETCH ? 0x400ull : 0x300ull) << 32;
    uint64_t store = access == WRITE ? 0x02000000 : 0;
    uint32_t dir = load32be(ram, root + (va >> 22 & 1023) * 4);
    if (!(dir & 0xfffff000)) { *syndrome = base | 0x20000000 | store; return 0; }
    uint32_t e = load32be(ram, (dir & 0xfffff000) + (va >> 12 & 1023) * 4);
    uint32_t need = 0x001 | 0x100;         /* present, accessed */
    if (access == FETCH) need |= 0x200;    /* exec */
    if (access == READ) need |= 0x004;
    if (access == WRITE) need |= 0x400 | 0x080; /* writable, dirty */
    if ((e & need) != need) { *syndrome = base | 0x20000000 | store; return 0; }
    (void)user;
    *paddr = e & 0xfffff000;
    *perms = (e & 0x004 ? PERM_READ : 0) | ((e & 0x480) == 0x480 ? PERM_WRITE : 0) | (e & 0x200 ? PERM_EXEC : 0);
    return 1;
}

int mmscope_walk(int format, uint8_t *ram, uint64_t root, uint64_t va, int access, int user, uint32_t pkru,
                 uint64_t *paddr, int *perms, uint64_t *syndrome)
{
    switch (format) {
    case X86_64: return walk_x86(ram, root, va, access, user, pkru, paddr, perms, syndrome);
    case ARM64: return walk_arm64(ram, root, va, access, user, paddr, perms, syndrome);
    case PPC64_RADIX: return walk_radix(ram, root, va, access, user, paddr, perms, syndrome);
    default: return walk_ppc32(ram, root, va, access, user, paddr, perms, syndrome);
    }
}

/*
 * The engine tells its TLB hook the page, not the address. This library is loaded before libunicorn, with global
 * visibility, so that these functions stand before the library's own of the same name: they note the address and go on.
 */
typedef bool fill_fn(void *cpu, uint64_t address, int size, int rw, int mmu_idx, bool probe, uintptr_t retaddr);
fill_fn *mmscope_fill_x86_64, *mmscope_fill_aarch64, *mmscope_fill_ppc64, *mmscope_fill_ppc;
static uint64_t exact_address;

#define INTERPOSE(arch, word)                                                                                          \
    bool unicorn_fill_tlb_##arch(void *cpu, word address, int size, int rw, int mmu_idx, bool probe, uintptr_t ra)     \
    {                                                                                                                  \
        exact_address = address;                                                                                       \
        return mmscope_fill_##arch(cpu, address, size, rw, mmu_idx, probe, ra);                                        \
    }
INTERPOSE(x86_64, uint64_t)
INTERPOSE(aarch64, uint64_t)
INTERPOSE(ppc64, uint64_t)
INTERPOSE(ppc, uint64_t)

static void settle(struct engine *e, uint64_t ip)
{
    uint64_t end = e->block_start + e->block_size;
    e->ip = ip;
    e->retired = ip >= e->block_start && ip < end ? e->count - (end - ip) : e->count;
}

/*
 * x86: is this an instruction that reads memory, changes it and writes it back (Intel SDM volume 2, appendix A)? The
 * hardware asks for such an access as a write from the start; Unicorn loads first and stores later.
 */
bool mmscope_modifies_memory(const uint8_t *code, int size)
{
    int at = 0;
    while (at < size && (code[at] == 0x66 || code[at] == 0x67 || code[at] == 0xf0 || code[at] == 0xf2 || code[at] == 0xf3 ||
                         (code[at] & 0xe7) == 0x26 || code[at] == 0x64 || code[at] == 0x65))
        at++;
    if (at < size && (code[at] & 0xf0) == 0x40)
        at++;
    int two = at < size && code[at] == 0x0f;
    at += two;
    if (at + 1 >= size || code[at + 1] >= 0xc0)
        return false;
    int op = code[at], reg = code[at + 1] >> 3 & 7;
    if (two)
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

static bool modifies_at(struct engine *e, uint64_t ip)
{
    uint8_t code[15];
    uint64_t paddr = 0, syndrome;
    int perms, got = 0;
    while (got < 15) {
        uint64_t va = ip + got;
        int count = 4096 - (int)(va & 4095) < 15 - got ? 4096 - (int)(va & 4095) : 15 - got;
        if (!walk_x86(e->ram, e->root, va, FETCH, 1, e->pkru, &paddr, &perms, &syndrome))
            break;
        memcpy(code + got, e->ram + paddr + (va & 4095), count);
        got += count;
    }
    return mmscope_modifies_memory(code, got);
}

bool mmscope_fill(void *uc, uint64_t page, int type, tlb_entry *entry, struct engine *e)
{
    int access = type == UC_MEM_WRITE ? WRITE : type == UC_MEM_FETCH ? FETCH : READ;
    if (e->identity) {
        entry->paddr = page;
        entry->perms = 7;
        return true;
    }
    e->fills++;
    for (;;) {
        if (mmscope_walk(e->format, e->ram, e->root, page, access, 1, e->pkru, &entry->paddr, &entry->perms, &e->syndrome)) {
            if (access == FETCH)
                e->code_map[entry->paddr >> 12] = 1;
            return true;
        }
        uint64_t ip = 0;
        e->reg_read(uc, e->pc_reg, &ip);
        settle(e, ip);
        if (e->format == X86_64 && (int64_t)(page << 16) >> 16 != (int64_t)page) { /* not canonical: no page fault */
            e->trap = TRAP_GP;
            e->emu_stop(uc);
            return false;
        }
        if (e->format == X86_64 && access == READ && modifies_at(e, ip)) {
            access = WRITE;
            continue;
        }
        e->access = access;
        e->address = exact_address;
        /* An instruction that reaches into this page is being translated; those before it have not run yet. */
        e->split_fetch = access == FETCH && (ip ^ page) >> 12;
        if (!e->on_fault || !e->interposed || e->split_fetch)
            return false;
        if (!e->on_fault(exact_address, e->syndrome, ip))
            return false;
    }
}

void mmscope_block(void *uc, uint64_t start, uint32_t size, struct engine *e)
{
    if (e->count >= e->limit) {
        e->over = 1;
        e->emu_stop(uc);
        return;
    }
    e->count += size;
    e->block_start = start;
    e->block_size = size;
}

void mmscope_interrupt(void *uc, uint32_t number, struct engine *e)
{
    e->trap = number;
    e->emu_stop(uc);
}

void mmscope_syscall(void *uc, struct engine *e)
{
    e->trap = TRAP_SYSCALL;
    e->emu_stop(uc);
}

bool mmscope_illegal(void *uc, struct engine *e)
{
    e->trap = TRAP_ILLEGAL;
    e->emu_stop(uc);
    return false;
}

static void settle_stop(struct engine *e, uint64_t pc)
{
    e->pc = e->ip = pc;
    e->retired = e->count;
}

/* Stopped at `pc`, before that instruction: what of the block lies from there on has not run. */
static void uncount(struct engine *e, uint64_t pc)
{
    uint64_t end = e->block_start + e->block_size;
    if (pc >= e->block_start && pc < end) {
        e->count -= end - pc;
        e->block_size = pc - e->block_start;
    }
    settle_stop(e, pc);
}

/* Engine.run up to the point where a split fetch needs single steps; two of these a fault where many CPUs fault. */
int mmscope_run(struct engine *e, void *uc, uint64_t pc, uint64_t budget)
{
    e->limit = e->count + budget;
    e->over = e->split_fetch = 0;
    e->trap = NO_TRAP;
    e->error = e->emu_start(uc, pc, 0, 0, 0);
    if (e->trap == NO_TRAP && e->error == UC_ERR_EXCEPTION) {
        if (e->split_fetch)
            return STOP_SPLIT_FETCH;
        uncount(e, e->ip);
        return STOP_FAULT;
    }
    uint64_t at = 0;
    e->reg_read(uc, e->pc_reg, &at);
    if (e->trap != NO_TRAP) {
        if (e->trap >= 0) /* the rest of the block has not run */
            uncount(e, at);
        else
            settle_stop(e, at);
        return STOP_TRAP;
    }
    settle_stop(e, at);
    return e->error == UC_ERR_OK && e->over ? STOP_BUDGET : STOP_HALTED;
}
