/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The registers of threads that wait for their turn, without what is the same in all of them: emu/hw/registers.py.
 *
 * An engine saves all that its CPU is made of, 5.6 KiB on x86-64 and 80 KiB on PowerPC, of which a thread has little
 * of its own. The engine's copy is therefore compared with one from before any guest ran, and the lines that differ
 * are kept. Figures: of a fault with 64 threads on 64 CPUs, 133 of 506 misses of a 512 KiB cache were copies of
 * whole contexts.
 */
#include <stdint.h>
#include <string.h>

enum { LINE = 64, GROUP = 64 }; /* bytes of a line, lines of a word of a mask */

/* Laid out as class _Bank in registers.py. */
struct bank {
    void *uc;
    int (*save)(void *uc, void *context);
    int (*restore)(void *uc, void *context);
    uint8_t *context;           /* where the engine saves to, and restores from */
    const uint8_t *base;        /* a context from before any guest ran */
    uint64_t size;              /* of a context, in bytes */
    int64_t reservation;        /* where in it the address of a load-linked is; negative: it has none */
    uint64_t reservation_size;
    uint64_t owned;             /* words in it that are pointers to memory of the engine itself */
    const uint64_t *owned_at;
    const uint64_t *owned_word;
    uint64_t *dirty;            /* a mask of the lines of `context` that differ from `base` */
};

static int differs(const uint8_t *a, const uint8_t *b)
{
    uint64_t x[LINE / 8], y[LINE / 8], found = 0;
    int i;

    memcpy(x, a, LINE);
    memcpy(y, b, LINE);
    for (i = 0; i < LINE / 8; i++)
        found |= x[i] ^ y[i];
    return found != 0;
}

/* What a thread has: a mask of lines, the bytes behind the last whole line, and the lines of the mask in order. */
int mmscope_save_registers(struct bank *bank, uint8_t *out)
{
    const uint64_t lines = bank->size / LINE, groups = (lines + GROUP - 1) / GROUP;
    uint64_t *mask = (uint64_t *)out, group, line;
    int error = bank->save(bank->uc, bank->context);

    if (bank->reservation >= 0)
        memset(bank->context + bank->reservation, 0xff, bank->reservation_size);
    out += groups * sizeof *mask;
    memcpy(out, bank->context + lines * LINE, bank->size % LINE);
    out += LINE;
    for (group = 0; group < groups; group++) {
        uint64_t found = 0;
        for (line = group * GROUP; line < lines && line < (group + 1) * GROUP; line++)
            if (differs(bank->context + line * LINE, bank->base + line * LINE)) {
                memcpy(out, bank->context + line * LINE, LINE);
                out += LINE;
                found |= 1ull << line % GROUP;
            }
        mask[group] = bank->dirty[group] = found;
    }
    return error;
}

int mmscope_load_registers(struct bank *bank, const uint8_t *in)
{
    const uint64_t lines = bank->size / LINE, groups = (lines + GROUP - 1) / GROUP;
    const uint64_t *mask = (const uint64_t *)in;
    uint64_t group, i;

    in += groups * sizeof *mask;
    memcpy(bank->context + lines * LINE, in, bank->size % LINE);
    in += LINE;
    for (group = 0; group < groups; group++) {
        uint64_t left = mask[group] | bank->dirty[group];
        for (; left; left &= left - 1) {
            const uint64_t bit = left & -left, at = (group * GROUP + (uint64_t)__builtin_ctzll(left)) * LINE;
            if (mask[group] & bit) {
                memcpy(bank->context + at, in, LINE);
                in += LINE;
            } else {
                memcpy(bank->context + at, bank->base + at, LINE);
            }
        }
        bank->dirty[group] = mask[group];
    }
    for (i = 0; i < bank->owned; i++)
        memcpy(bank->context + bank->owned_at[i], &bank->owned_word[i], sizeof bank->owned_word[i]);
    return bank->restore(bank->uc, bank->context);
}

/* Save those of one thread to `out`, and load those of another one. */
int mmscope_exchange_registers(struct bank *bank, uint8_t *out, const uint8_t *in, uint64_t unused)
{
    (void)unused;
    return mmscope_save_registers(bank, out) | mmscope_load_registers(bank, in);
}
