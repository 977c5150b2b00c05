/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The registers of threads that wait for their turn, without what is the same in all of them: emu/hw/registers.py.
 *
 * An engine saves all that its CPU is made of, 5.6 KiB on x86-64, of which a thread has little of its own. Lines in
 * which some thread was seen to differ from an engine that has run nothing are kept of each thread; that the others do
 * not differ is looked at each time. Figures: of a fault with 64 threads on 64 CPUs, 133 of 506 misses of a 512 KiB
 * cache were copies of whole contexts. Where it is known where the engine has its registers they are not saved to
 * somewhere else first.
 */
#include <stdint.h>
#include <string.h>

enum { LINE = 64, GROUP = 64 }; /* bytes of a line, lines of a word of a mask */

/* Laid out as class _Bank in registers.py. */
struct bank {
    void *uc;
    int (*save)(void *uc, void *context);
    int (*restore)(void *uc, void *context);
    void *context;              /* where the engine saves to, and restores from; NULL: `data` are its own registers */
    uint8_t *data;              /* the registers in it, behind what the engine notes of a context */
    const uint8_t *base;        /* registers from before any guest ran */
    uint64_t size;              /* in bytes */
    int64_t reservation;        /* where in `data` the address of a load-linked is; negative: it has none */
    uint64_t reservation_size;
    uint64_t owned;             /* words in `data` that are pointers to memory of the engine itself */
    const uint64_t *owned_at;
    const uint64_t *owned_word;
    uint64_t *kept;             /* a mask of the lines that are kept */
    const uint64_t *blank;      /* one of the lines that are all zero in `base` */
};

const uint64_t mmscope_bank_size = sizeof(struct bank); /* see native.py */

/* Does anything else than zeros stand there: `bytes`, a multiple of a line. */
static int is_written(const uint8_t *data, uint64_t bytes)
{
    uint64_t first;

    memcpy(&first, data, sizeof first);
    return first != 0 || memcmp(data, data + sizeof first, bytes - sizeof first);
}

/* Keep the lines of `cold`, a bit each, that differ by now. `blank`: they were all zero, which is seen without another
 * look at what they were: half as many lines of the host's cache for each switch of threads. */
static void find_more(struct bank *bank, uint64_t group, uint64_t cold, int blank)
{
    uint64_t first, bytes, at;

    while (cold) {
        first = (uint64_t)__builtin_ctzll(cold);
        bytes = (~(cold >> first) ? (uint64_t)__builtin_ctzll(~(cold >> first)) : GROUP) * LINE;
        at = (group * GROUP + first) * LINE;
        if (blank ? is_written(bank->data + at, bytes) : memcmp(bank->data + at, bank->base + at, bytes)) {
            /* seldom: one after the other */
            if (bytes == LINE) {
                bank->kept[group] |= 1ull << first;
            } else {
                find_more(bank, group, 1ull << first, blank);
                cold &= cold - 1;
                continue;
            }
        }
        cold = bytes == GROUP * LINE ? 0 : cold & ~(((1ull << bytes / LINE) - 1) << first);
    }
}

/* What a thread has: a mask of lines, the bytes behind the last whole line, and the lines of the mask in order. */
int mmscope_save_registers(struct bank *bank, uint8_t *out)
{
    const uint64_t lines = bank->size / LINE, groups = (lines + GROUP - 1) / GROUP;
    uint64_t *mask = (uint64_t *)out, group, left;
    int error = bank->context == NULL ? 0 : bank->save(bank->uc, bank->context);

    if (bank->reservation >= 0)
        memset(bank->data + bank->reservation, 0xff, bank->reservation_size);
    out += groups * sizeof *mask;
    memcpy(out, bank->data + lines * LINE, bank->size % LINE);
    out += LINE;
    for (group = 0; group < groups; group++) {
        const uint64_t all = lines - group * GROUP >= GROUP ? ~0ull : (1ull << (lines - group * GROUP)) - 1;
        find_more(bank, group, all & ~bank->kept[group] & bank->blank[group], 1);
        find_more(bank, group, all & ~bank->kept[group] & ~bank->blank[group], 0);
        mask[group] = bank->kept[group];
        for (left = bank->kept[group]; left; left &= left - 1, out += LINE)
            memcpy(out, bank->data + (group * GROUP + (uint64_t)__builtin_ctzll(left)) * LINE, LINE);
    }
    return error;
}

int mmscope_load_registers(struct bank *bank, const uint8_t *in)
{
    const uint64_t lines = bank->size / LINE, groups = (lines + GROUP - 1) / GROUP;
    const uint64_t *mask = (const uint64_t *)in;
    uint64_t group, left, i;

    in += groups * sizeof *mask;
    memcpy(bank->data + lines * LINE, in, bank->size % LINE);
    in += LINE;
    for (group = 0; group < groups; group++) {
        bank->kept[group] |= mask[group]; /* that of another engine may have more */
        for (left = bank->kept[group]; left; left &= left - 1) {
            const uint64_t at = (group * GROUP + (uint64_t)__builtin_ctzll(left)) * LINE;
            if (mask[group] & left & -left) {
                memcpy(bank->data + at, in, LINE);
                in += LINE;
            } else {
                memcpy(bank->data + at, bank->base + at, LINE);
            }
        }
    }
    for (i = 0; i < bank->owned; i++)
        memcpy(bank->data + bank->owned_at[i], &bank->owned_word[i], sizeof bank->owned_word[i]);
    return bank->context == NULL ? 0 : bank->restore(bank->uc, bank->context);
}

/* Save those of one thread to `out`, and load those of another one. */
int mmscope_exchange_registers(struct bank *bank, uint8_t *out, const uint8_t *in)
{
    return mmscope_save_registers(bank, out) | mmscope_load_registers(bank, in);
}
