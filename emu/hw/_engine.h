/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An engine as the C files see it.
 */
#ifndef MMSCOPE_ENGINE_H
#define MMSCOPE_ENGINE_H
#include <stddef.h>
#include <stdint.h>

enum { MARKS = 4096 };
enum { STOP_BUDGET, STOP_FAULT, STOP_TRAP, STOP_HALTED, STOP_SPLIT_FETCH }; /* class Stop, and one that Engine.run deals with */

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
    /* x86, see mmscope_translated */
    int32_t again;         /* the block that begins is to be translated again */
    int32_t stepping;      /* every instruction is asked about */
    int32_t misaligned;    /* the access of the instruction that runs raises an exception */
    int32_t checks;        /* EFLAGS.AC has been set */
    int32_t uc_flush, uc_remove; /* what uc_ctl is asked for */
    int32_t fs_base, gs_base;
    uint64_t held_limit;   /* `limit`, while that is 0 to stop at the block */
    uint64_t prepared;     /* begin of the block that is being translated again */
    uint64_t first, last;  /* instructions in it that are asked about */
    uint64_t epoch;        /* grows where there may be other code at an address */
    uint64_t stop_count;
    int32_t stop_wanted;   /* among them is one of `stops` */
    int32_t hooked;        /* all operands in it */
    int32_t fresh;         /* the engine does not tell of translations yet: `limit` is 0, each block comes to stop_at_block */
    int32_t counted;       /* translated code stops after each instruction */
    const uint64_t *stops; /* where to call on_stop */
    uint64_t *range;       /* first and last instruction of the engine's hook, in the engine's own memory */
    uint8_t *no_exits;     /* may new code be left at the start of a block only */
    struct site *sites;
    struct entry *entries;
    const uint64_t *general; /* the 16 general registers, in the engine's own memory */
    int (*uc_ctl)(void *uc, int control, ...);
    void (*on_stop)(uint64_t ip);
    uint64_t number;       /* among the RAM's engines */
    uint32_t *coders, *writers; /* Ram.coders, Ram.writers */
    void (*forget)(uint64_t pfn, int code); /* see note_use */
    uint8_t marks[MARKS];  /* by address: may a block that begins there have an entry in `entries` */
};

#endif
