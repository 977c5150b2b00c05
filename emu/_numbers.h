/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Numbers of Python as words. A call of the interpreter for each of them takes longer than what is done with most.
 */
#ifndef MMSCOPE_NUMBERS_H
#define MMSCOPE_NUMBERS_H
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>

/* The 63 bits of a number that is not negative and has no more, of an object that is a number: was it one. */
static inline int is_short(PyObject *number, uint64_t *word)
{
#if PY_VERSION_HEX < 0x030c0000 && PYLONG_BITS_IN_DIGIT == 30
    const digit *digits = ((PyLongObject *)number)->ob_digit;

    switch (Py_SIZE(number)) {
    case 0:
        *word = 0;
        return 1;
    case 1:
        *word = digits[0];
        return 1;
    case 2:
        *word = digits[0] | (uint64_t)digits[1] << PyLong_SHIFT;
        return 1;
    case 3:
        *word = digits[0] | (uint64_t)digits[1] << PyLong_SHIFT | (uint64_t)digits[2] << 2 * PyLong_SHIFT;
        return digits[2] < 8;
    }
#endif
    return 0;
}

/* A number as the 64 bits of a signed or, where it is too large for that, of an unsigned one: 0 = as signed, 1 = it is
 * 1 << 63 or more, -1 = none of them, or no number; there is no exception then. */
static inline int as_word(PyObject *number, uint64_t *word)
{
    long long value;
    int overflow;

    if (!PyLong_Check(number))
        return -1;
    if (is_short(number, word))
        return 0;
    value = PyLong_AsLongLongAndOverflow(number, &overflow);
    *word = (uint64_t)value;
    if (overflow > 0) {
        *word = PyLong_AsUnsignedLongLong(number);
        if (*word == (uint64_t)-1 && PyErr_Occurred()) {
            PyErr_Clear();
            return -1;
        }
        return 1;
    }
    return overflow;
}

/* PyLong_AsUnsignedLongLong: 0, or -1 where the number does not fit, without an exception. */
static inline int as_unsigned(PyObject *number, uint64_t *word)
{
    const int large = as_word(number, word);

    return large < 0 || (!large && (int64_t)*word < 0) ? -1 : 0;
}

#endif
