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
#include "_engine.h"
#include "_x86_insn.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { READ, WRITE, FETCH };
enum { X86_64, ARM64, PPC64_RADIX, PPC32 };
enum { UC_MEM_READ = 16, UC_MEM_WRITE, UC_MEM_FETCH };
enum { PERM_READ = 1, PERM_WRITE = 2, PERM_EXEC = 4 };
enum { TRAP_GP = 13 };
enum { UC_ERR_OK, UC_ERR_EXCEPTION = 21 };
enum { NO_TRAP = -1000, TRAP_SYSCALL = -1, TRAP_ILLEGAL = -2, TRAP_CHECKS = -3 };
enum { PLAIN, ALIGNED, POPS_FLAGS, STOP };
enum { SITES = 1024, ENTRIES = 1024, CHECKS = 4, RSP = 4 };

typedef struct { uint64_t paddr; int perms; } tlb_entry;

const uint64_t mmscope_engine_size = sizeof(struct engine); /* see native.py */

/* What is known of an instruction that is asked about. */
struct site { uint64_t pc, epoch, kind; struct x86_insn insn; };

/* What is known of a block: what to look at when it begins, and which of its instructions to ask about. */
struct entry {
    uint64_t start, epoch, first, last;
    int32_t count, hooked, stops;
    struct { int32_t base, index, shift, displacement; } checks[CHECKS]; /* displacement and registers as the block begins */
    uint64_t first_checked, last_checked; /* the instructions that the checks stand for */
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

static int code_at(struct engine *e, uint64_t ip, uint8_t code[LONGEST])
{
    uint64_t paddr = 0, syndrome;
    int perms, got = 0;
    while (got < LONGEST) {
        uint64_t va = ip + got;
        int count = 4096 - (int)(va & 4095) < LONGEST - got ? 4096 - (int)(va & 4095) : LONGEST - got;
        if (!walk_x86(e->ram, e->root, va, FETCH, 1, e->pkru, &paddr, &perms, &syndrome))
            break;
        memcpy(code + got, e->ram + paddr + (va & 4095), count);
        got += count;
    }
    return got;
}

static bool decode_at(struct engine *e, uint64_t ip, struct x86_insn *insn)
{
    uint8_t code[LONGEST];
    return mmscope_decode(code, code_at(e, ip, code), insn);
}

/*
 * A store tells the engine that executes it to drop the translations of what it overwrites, but only the first one after
 * the TLB was filled for that page, or after code at that very address was translated. What one frame holds may be
 * executed at one address and written at another, or by another engine. So no TLB entry allows both; when a frame becomes
 * code, the entries by which others may write it go, and when it becomes writable elsewhere, the code goes.
 */
static void note_use(struct engine *e, uint64_t page, int access, tlb_entry *entry)
{
    enum { SEVERAL = 2 };
    uint64_t pfn = entry->paddr >> 12;
    uint32_t who = (uint32_t)(((page >> 12 ^ e->number << 52) * 0x9e3779b97f4a7c15u) >> 32) | 1;
    if (access == FETCH) {
        entry->perms &= ~PERM_WRITE;
        if (e->writers[pfn] && e->writers[pfn] != who)
            e->forget(pfn, 0);
        e->writers[pfn] = 0;
        e->coders[pfn] = e->code_map[pfn] && e->coders[pfn] != who ? SEVERAL : who;
        e->code_map[pfn] = 1;
        return;
    }
    entry->perms &= ~PERM_EXEC;
    if (entry->perms & PERM_WRITE) {
        if (e->code_map[pfn] && e->coders[pfn] != who)
            e->forget(pfn, 1);
        e->writers[pfn] = e->writers[pfn] && e->writers[pfn] != who ? SEVERAL : who;
    }
}

bool mmscope_fill(void *uc, uint64_t page, int type, tlb_entry *entry, struct engine *e)
{
    int access = type == UC_MEM_WRITE ? WRITE : type == UC_MEM_FETCH ? FETCH : READ;
    if (e->identity) {
        entry->paddr = page;
        entry->perms = 7;
        return true;
    }
    if (e->misaligned) {
        uint64_t ip = 0;
        e->misaligned = 0;
        e->reg_read(uc, e->pc_reg, &ip);
        settle(e, ip);
        e->trap = TRAP_GP;
        e->emu_stop(uc);
        return false;
    }
    e->fills++;
    for (;;) {
        if (mmscope_walk(e->format, e->ram, e->root, page, access, 1, e->pkru, &entry->paddr, &entry->perms, &e->syndrome)) {
            note_use(e, page, access, entry);
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
        struct x86_insn insn;
        if (e->format == X86_64 && access == READ && decode_at(e, ip, &insn) && mmscope_modifies_memory(&insn)) {
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

/*
 * x86: instructions that are asked about.
 *
 * The engine does not raise what a misaligned operand of SSE raises, does not know EFLAGS.AC, and cannot be told to stop
 * at more than a few addresses: each costs at every instruction. So a block is looked through when it has been
 * translated. An operand whose address follows from the registers as they are when the block begins is checked there, in
 * the call that counts blocks. For the others the engine has one hook for instructions, whose range is empty but while a
 * block is translated: such a block is translated once more with the range open from the first such instruction to the
 * last; the calls that this puts into the code stay when the range is closed again. The same is done with a block in
 * which an operand will not be aligned.
 */
static const uint64_t nowhere = ~0ull;

static bool is_stop(struct engine *e, uint64_t pc)
{
    for (uint64_t i = 0; i < e->stop_count; i++)
        if (e->stops[i] == pc)
            return true;
    return false;
}

static int kind_of(struct engine *e, uint64_t pc, const struct x86_insn *insn)
{
    if (is_stop(e, pc))
        return STOP;
    if (insn->map == 0 && insn->op == 0x9d) /* POPF */
        return POPS_FLAGS;
    if (!mmscope_wants_alignment(insn))
        return PLAIN;
    if (insn->base == RIP && !insn->segment)
        return pc + insn->size + insn->displacement & 15 ? ALIGNED : PLAIN;
    return ALIGNED;
}

/* The lower bits of it: whether addresses are of 32 bits does not matter. */
static uint64_t operand_address(struct engine *e, void *uc, uint64_t pc, const struct x86_insn *insn)
{
    uint64_t address = (int64_t)insn->displacement, value = 0;
    if (insn->base == RIP)
        address += pc + insn->size;
    else if (insn->base >= 0)
        address += e->general[insn->base];
    if (insn->index >= 0)
        address += e->general[insn->index] << insn->shift;
    if (insn->segment && e->reg_read(uc, insn->segment == 0x64 ? e->fs_base : e->gs_base, &value) == 0)
        address += value;
    return address;
}

/* Look through the block: fill in `entry`. */
static void look_through(struct engine *e, uint64_t start, uint64_t size, struct entry *entry)
{
    struct x86_insn insn;
    int64_t moved[16] = {0};   /* what has been added to a register since the block began */
    bool lost[16] = {false};   /* it has another value altogether */
    entry->start = start;
    entry->epoch = e->epoch;
    entry->first = entry->first_checked = nowhere;
    entry->count = entry->hooked = entry->stops = 0;
    for (uint64_t pc = start, end = start + size; pc < end && decode_at(e, pc, &insn); pc += insn.size) {
        int kind = kind_of(e, pc, &insn);
        e->sites[pc % SITES].pc = nowhere;
        if (kind == ALIGNED && !insn.segment && insn.base != RIP && !(insn.base >= 0 && lost[insn.base]) &&
            !(insn.index >= 0 && lost[insn.index])) {
            int64_t at = insn.displacement + (insn.base >= 0 ? moved[insn.base] : 0) +
                         (insn.index >= 0 ? moved[insn.index] << insn.shift : 0);
            int i = 0;
            while (i < entry->count && !(entry->checks[i].base == insn.base && entry->checks[i].index == insn.index &&
                                         entry->checks[i].shift == insn.shift && entry->checks[i].displacement == (at & 15)))
                i++;
            if (i == entry->count && i < CHECKS) {
                entry->checks[i].base = insn.base;
                entry->checks[i].index = insn.index;
                entry->checks[i].shift = insn.shift;
                entry->checks[i].displacement = at & 15;
                entry->count++;
            }
            if (i < CHECKS) {
                kind = PLAIN;
                entry->first_checked = entry->first_checked == nowhere ? pc : entry->first_checked;
                entry->last_checked = pc;
            }
        }
        if (kind != PLAIN) {
            entry->first = entry->first == nowhere ? pc : entry->first;
            entry->last = pc;
        }
        entry->stops |= kind == STOP;
        int added = 0, to = mmscope_adds(&insn, &added);
        if (to >= 0)
            moved[to] += added;
        else
            for (int i = 0; i < 16; i++)
                lost[i] |= mmscope_may_write(&insn, i);
    }
}

static struct entry *entry_of(struct engine *e, uint64_t start) { return &e->entries[start % ENTRIES]; }

static uint8_t *mark_of(struct engine *e, uint64_t start) { return &e->marks[start % MARKS]; }

static void translate_again(struct engine *e, const struct entry *entry, uint64_t first, uint64_t last, int hooked)
{
    e->again = 1;
    e->hooked = hooked;
    e->stop_wanted = entry->stops;
    e->first = first;
    e->last = last;
    e->held_limit = e->limit;
    e->limit = 0;
}

struct block { uint64_t pc; uint16_t count, size; }; /* uc_tb */

/* A block has been translated, and runs next. */
static void note_block(struct engine *e, uint64_t start, uint64_t size)
{
    struct entry *entry = entry_of(e, start), found;
    if (!e->stepping) {
        e->range[0] = e->range[1] = nowhere;
        *e->no_exits = 1;
    }
    look_through(e, start, size, &found);
    if (e->stepping)
        return;
    if (found.count) {
        *mark_of(e, start) = 1;
        *entry = found;
    } else if (entry->start == start) {
        entry->start = nowhere;
    }
    if (start == e->prepared) {
        e->prepared = nowhere;
        entry->hooked = found.count && e->hooked;
    } else if (found.first != nowhere) {
        translate_again(e, &found, found.first, found.last, 0);
    }
}

/* The engine tells of a translation only when a block has run to its end before. */
void mmscope_translated(void *uc, const struct block *block, const struct block *before, struct engine *e)
{
    (void)uc, (void)before;
    if (e->fresh) {
        e->fresh = 0;
        e->limit = e->held_limit;
    }
    note_block(e, block->pc, block->size);
}

/* A block begins that may have operands to check: will all be aligned? */
static bool look_ahead(struct engine *e, uint64_t start, uint32_t size)
{
    struct entry *entry = entry_of(e, start);
    if (entry->start != start || entry->epoch != e->epoch)
        look_through(e, start, size, entry);
    if (entry->hooked || e->stepping)
        return true;
    uint64_t wrong = 0;
    for (int i = 0; i < entry->count; i++) {
        uint64_t address = entry->checks[i].displacement;
        if (entry->checks[i].base >= 0)
            address += e->general[entry->checks[i].base];
        if (entry->checks[i].index >= 0)
            address += e->general[entry->checks[i].index] << entry->checks[i].shift;
        wrong |= address;
    }
    if (!(wrong & 15))
        return true;
    translate_again(e, entry, entry->first < entry->first_checked ? entry->first : entry->first_checked, entry->last_checked, 1);
    return false;
}

/* Before an instruction in the range that was open when its block was translated. */
void mmscope_asked(void *uc, uint64_t pc, uint32_t size, struct engine *e)
{
    struct site *site = &e->sites[pc % SITES];
    uint64_t sp, paddr, syndrome;
    int perms;
    (void)size;
    if (site->pc != pc || site->epoch != e->epoch) {
        site->pc = pc;
        site->epoch = e->epoch;
        site->kind = decode_at(e, pc, &site->insn) ? kind_of(e, pc, &site->insn) : PLAIN;
    }
    if (site->kind == ALIGNED) {
        if (operand_address(e, uc, pc, &site->insn) & 15) {
            e->misaligned = 1; /* mmscope_fill raises it: a run can be ended at an access only */
            e->uc_ctl(uc, e->uc_flush);
        }
    } else if (site->kind == POPS_FLAGS) {
        sp = e->general[RSP] + 2;
        if (walk_x86(e->ram, e->root, sp, READ, 1, e->pkru, &paddr, &perms, &syndrome) && e->ram[paddr + (sp & 4095)] & 4) {
            e->checks = 1; /* EFLAGS.AC, from the next block on */
            e->limit = 0;
        }
    } else if (site->kind == STOP) {
        e->on_stop(pc);
    }
}

static void enter_block(struct engine *e, uint64_t start, uint32_t size)
{
    e->count += size;
    e->block_start = start;
    e->block_size = size;
}

/* A block begins, and `limit` is reached, or was set to 0 to come here. */
__attribute__((noinline)) static void stop_at_block(struct engine *e, void *uc, uint64_t start, uint32_t size)
{
    if (e->fresh && !e->again && e->count < e->held_limit) {
        e->limit = e->held_limit;
        note_block(e, start, size);
        if (!e->again && look_ahead(e, start, size)) {
            e->limit = 0;
            enter_block(e, start, size);
            return;
        }
    } else if (!e->again) {
        e->over = 1;
        if (e->checks)
            e->trap = TRAP_CHECKS;
    }
    e->emu_stop(uc);
}

__attribute__((noinline)) static void check_block(struct engine *e, void *uc, uint64_t start, uint32_t size)
{
    if (look_ahead(e, start, size))
        enter_block(e, start, size);
    else
        e->emu_stop(uc);
}

/* No call returns here, so that it saves no registers: 3 % of the time of guest code that computes. */
void mmscope_block(void *uc, uint64_t start, uint32_t size, struct engine *e)
{
    if (e->count >= e->limit) {
        stop_at_block(e, uc, start, size);
    } else if (*mark_of(e, start)) {
        check_block(e, uc, start, size);
    } else {
        e->count += size; /* enter_block */
        e->block_start = start;
        e->block_size = size;
    }
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

/* emu_start, which translates blocks again as mmscope_translated asks for. */
static int start(struct engine *e, void *uc, uint64_t pc)
{
    e->counted = 0; /* the engine drops such code itself */
    for (;;) {
        if (e->fresh) {
            e->held_limit = e->limit;
            e->limit = 0;
        }
        int error = e->emu_start(uc, pc, 0, 0, 0);
        if (!e->again)
            return error;
        e->again = 0;
        e->limit = e->held_limit;
        e->range[0] = e->first;
        e->range[1] = e->last;
        *e->no_exits = !e->stop_wanted;
        e->reg_read(uc, e->pc_reg, &pc);
        e->prepared = pc;
        e->uc_ctl(uc, e->uc_remove, pc, pc + 1);
    }
}

/* Engine.run up to the point where a split fetch needs single steps; two of these a fault where many CPUs fault. */
int mmscope_run(struct engine *e, void *uc, uint64_t pc, uint64_t budget)
{
    e->limit = e->count + budget;
    e->over = e->split_fetch = e->misaligned = e->checks = 0;
    e->trap = NO_TRAP;
    e->error = start(e, uc, pc);
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
