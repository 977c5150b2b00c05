/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The order in which CPUs go on: the twin of emu/sched/turns.py. Beside each other in memory, where a heap of Python's
 * numbers is as many objects, each in a line of the host's cache that was not used for a while.
 */
#include "_slots.h"

static inline int is_before(struct turn a, struct turn b)
{
    return a.clock < b.clock || (a.clock == b.clock && a.cpu < b.cpu);
}

/* `turn` takes the place of the first one. */
static void replace_first(struct turns *turns, struct turn turn)
{
    Py_ssize_t hole = 0, child;

    while ((child = 2 * hole + 1) < turns->count) {
        if (child + 1 < turns->count && is_before(turns->turn[child + 1], turns->turn[child]))
            child++;
        if (!is_before(turns->turn[child], turn))
            break;
        turns->turn[hole] = turns->turn[child];
        hole = child;
    }
    turns->turn[hole] = turn;
}

/* The first one of those that wait and of `turn`, which waits instead of it. */
struct turn push_and_pop(struct turns *turns, struct turn turn)
{
    const struct turn first = turns->turn[0];

    if (turns->count == 0 || !is_before(first, turn))
        return turn;
    replace_first(turns, turn);
    return first;
}

static int is_empty(const struct turns *turns)
{
    if (turns->count == 0)
        PyErr_SetString(PyExc_IndexError, "no CPU waits for its turn");
    return turns->count == 0;
}

/* (clock, cpu): 0, or -1. */
static int get_turn(PyObject *const *args, Py_ssize_t count, struct turn *turn)
{
    int overflow;

    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "a turn is a clock and the number of a CPU");
        return -1;
    }
    turn->clock = PyLong_AsLongLongAndOverflow(args[0], &overflow);
    if (overflow)
        turn->clock = LLONG_MAX;
    turn->cpu = PyLong_AsLong(args[1]);
    return PyErr_Occurred() ? -1 : 0;
}

static PyObject *push(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct turns *turns = (struct turns *)self;
    struct turn turn;
    Py_ssize_t at, parent;

    if (get_turn(args, count, &turn))
        return NULL;
    if (turns->count == TURNS) {
        PyErr_Format(PyExc_OverflowError, "more than %d CPUs wait for their turn", TURNS);
        return NULL;
    }
    for (at = turns->count++; at > 0; at = parent) {
        parent = (at - 1) / 2;
        if (!is_before(turn, turns->turn[parent]))
            break;
        turns->turn[at] = turns->turn[parent];
    }
    turns->turn[at] = turn;
    Py_RETURN_NONE;
}

static PyObject *told(struct turn turn)
{
    return Py_BuildValue("(Ll)", turn.clock, turn.cpu);
}

static PyObject *pop(PyObject *self, PyObject *unused)
{
    struct turns *turns = (struct turns *)self;
    const struct turn first = turns->turn[0];

    (void)unused;
    if (is_empty(turns))
        return NULL;
    turns->count--;
    replace_first(turns, turns->turn[turns->count]);
    return told(first);
}

static PyObject *pushpop(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct turn turn;

    return get_turn(args, count, &turn) ? NULL : told(push_and_pop((struct turns *)self, turn));
}

static PyObject *first(PyObject *self, PyObject *unused)
{
    struct turns *turns = (struct turns *)self;

    (void)unused;
    return is_empty(turns) ? NULL : PyLong_FromLongLong(turns->turn[0].clock);
}

static Py_ssize_t length(PyObject *self)
{
    return ((struct turns *)self)->count;
}

static PyMethodDef methods[] = {
    {"first", first, METH_NOARGS, "Turns.first"},
    {"pop", pop, METH_NOARGS, "Turns.pop"},
    {"push", (PyCFunction)(void (*)(void))push, METH_FASTCALL, "Turns.push"},
    {"pushpop", (PyCFunction)(void (*)(void))pushpop, METH_FASTCALL, "Turns.pushpop"},
    {NULL, NULL, 0, NULL},
};
static PySequenceMethods as_sequence = {.sq_length = length};
PyTypeObject turns_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "emu.sched._native.Turns",
    .tp_basicsize = sizeof(struct turns),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = PyType_GenericNew,
    .tp_methods = methods,
    .tp_as_sequence = &as_sequence,
};
