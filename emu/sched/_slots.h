/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the C files of this extension have in common: where the classes in Python have their slots, and how numbers in
 * these are read and written.
 */
#ifndef MMSCOPE_SLOTS_H
#define MMSCOPE_SLOTS_H
#include "../_numbers.h"

enum {
    ALONE, BUSY, CLOCK, CURRENT, END, EXCHANGE_LOAD, GUEST, HORIZON, MARK, NOISE, RQ, RQS, TIMER_DUE, TP, TRANSFER,
    TRANSFER_HOLD, SCHED_SLOTS,
};
enum { RQ_CLOCK, RQ_CURR, RQ_ID, RQ_INTERRUPTED, RQ_RATE, RQ_SLICE_END, RQ_WAITING, RQ_SLOTS };
enum {
    TP_CALLCHAIN, TP_CPU, TP_CURRENT, TP_FIRST, TP_OPEN, TP_PID, TP_REGISTERS, TP_ROWS, TP_SOURCE, TP_TID, TP_SLOTS,
};
enum { TASK_GREENLET, TASK_PID, TASK_TGID, TASK_UTIME, TASK_WAITS, TASK_SLOTS };

/* A class that C looks into: its slots, and what a class that derives from it gets. */
struct adopted {
    const char *name;
    const char *const *names; /* of slots */
    Py_ssize_t *at;           /* where they are in an object */
    int slots;
    PyTypeObject **type;      /* the class itself, or NULL */
    PyMethodDef *methods;     /* or NULL */
};

/* A method in Python that does what the one in C leaves to it. */
struct passed_on {
    PyObject **method;
    const char *class, *name;
};

/* A CPU that waits for its turn, and all of them: a heap. */
enum { TURNS = 256 };
struct turn {
    long long clock;
    long cpu;
};
struct turns {
    PyObject_HEAD
    Py_ssize_t count;
    struct turn turn[TURNS];
};

#pragma GCC visibility push(hidden)
extern Py_ssize_t sched_at[SCHED_SLOTS], rq_at[RQ_SLOTS], tp_at[TP_SLOTS], task_at[TASK_SLOTS];
extern PyTypeObject *sched_type, *tp_type, *last_sched, *last_tp; /* the latter are for is_a */

/* Each ends with one that has no name. */
extern struct adopted batches_classes[], event_classes[], mm_classes[];
extern struct passed_on batches_passed_on[], event_passed_on[], mm_passed_on[];
extern long long window_ns; /* batches.WINDOW */

const uint64_t *counts_of(PyObject *guest);
long long journey(PyObject *sched, long long from, long long to);
int charge_ns(PyObject *sched, long long ns);
PyObject *leave_guest(PyObject *sched, PyObject *unused);
int mmscope_keep_stacks(void); /* _stacks.c */
extern PyTypeObject turns_type; /* _turns.c */
struct turn push_and_pop(struct turns *turns, struct turn turn);
#pragma GCC visibility pop

/* Is an object of a class or of one that derives from it: `last` is the class of the last one that was. */
static inline int is_a(PyObject *object, PyTypeObject *class, PyTypeObject **last)
{
    if (Py_TYPE(object) == *last)
        return 1;
    if (!PyObject_TypeCheck(object, class))
        return 0;
    Py_XDECREF((PyObject *)*last);
    *last = (PyTypeObject *)Py_NewRef(Py_TYPE(object));
    return 1;
}

static inline PyObject **slot(PyObject *object, Py_ssize_t at)
{
    return (PyObject **)((char *)object + at);
}

/* PyLong_AsLongLong, which is a call for each of some fifty numbers a fault. */
static inline long long as_number(PyObject *number)
{
    uint64_t word;

    return is_short(number, &word) ? (long long)word : PyLong_AsLongLong(number);
}

static inline long long get(PyObject *object, Py_ssize_t at)
{
    return as_number(*slot(object, at));
}

/* A moment in ns, which may be so late that it does not fit. */
static inline long long get_moment(PyObject *object, Py_ssize_t at)
{
    PyObject *number = *slot(object, at);
    long long moment = as_number(number);

    if (moment == -1 && PyErr_Occurred()) {
        PyErr_Clear();
        return LLONG_MAX;
    }
    return moment;
}

/* A number that nothing else refers to can become another one of as many digits: twenty of these a fault. Has it. */
static inline int becomes(PyObject *number, long long value)
{
#if PY_VERSION_HEX < 0x030c0000 && PYLONG_BITS_IN_DIGIT == 30
    if (number != NULL && Py_REFCNT(number) == 1 && PyLong_CheckExact(number) && value > 0
        && value < 1ll << 2 * PyLong_SHIFT && Py_SIZE(number) == 1 + (value >> PyLong_SHIFT > 0)) {
        digit *digits = ((PyLongObject *)number)->ob_digit;
        digits[0] = (digit)(value & PyLong_MASK);
        if (value >> PyLong_SHIFT)
            digits[1] = (digit)(value >> PyLong_SHIFT);
        return 1;
    }
#endif
    return 0;
}

/* -1: there is no memory for the number. */
static inline int put(PyObject *object, Py_ssize_t at, long long value)
{
    PyObject *number;

    if (becomes(*slot(object, at), value))
        return 0;
    number = PyLong_FromLongLong(value);
    if (number == NULL)
        return -1;
    Py_SETREF(*slot(object, at), number);
    return 0;
}

static inline int add(PyObject *object, Py_ssize_t at, long long more)
{
    return put(object, at, get(object, at) + more);
}

static inline int set(PyObject *object, Py_ssize_t at, PyObject *value)
{
    if (value == NULL)
        return -1;
    Py_XSETREF(*slot(object, at), value); /* in a new object nothing is there */
    return 0;
}

/* The None that a method gives: 0, or -1 where it gave an exception. */
static inline int drop(PyObject *result)
{
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* bisect.bisect_right of numbers that are not negative; -1: one of them is. */
static inline Py_ssize_t bisect_right(PyObject *ends, long long address)
{
    Py_ssize_t low = 0, high = PyList_GET_SIZE(ends), middle;
    long long end;

    while (low < high) {
        middle = (low + high) / 2;
        end = as_number(PyList_GET_ITEM(ends, middle));
        if (end < 0)
            return -1;
        if (address < end)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

#endif
