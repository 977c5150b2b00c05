/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is recorded of each fault, in C: Tracepoints.emit, and the begin and the end of FaultEvent. A row stays the
 * tuple of Python that it is in emu/tracepoint.py. Call stacks and registers, where they are recorded, are left to the
 * methods in Python.
 *
 * Figures: 260 bytecodes less a fault that is recorded, on one CPU and on many.
 */
#include "_slots.h"

enum { WAITS_HOLDER, WAITS_WAIT, WAITS_SLOTS };
enum { EVENT_BEFORE, EVENT_BEGUN, EVENT_NUMBER, EVENT_REGISTERS, EVENT_STACK, EVENT_SCHED, EVENT_TABLE, EVENT_SLOTS };
enum { TABLE_ENTRIES, TABLE_LEAF, TABLE_LEAF_MASK, TABLE_LEAF_SHIFT, TABLE_SWAP_BYTES, TABLE_SLOTS };

static const char *const tp_names[] = {
    "callchain", "cpu", "current", "first", "open", "pid", "registers", "rows", "source", "tid",
};
static const char *const waits_names[] = {"holder", "wait"};
static const char *const event_names[] = {
    "_before", "_begun", "_number", "_registers", "_stack", "sched", "table",
};
static const char *const table_names[] = {"entries", "leaf", "leaf_mask", "leaf_shift", "swap_bytes"};
static Py_ssize_t waits_at[WAITS_SLOTS], event_at[EVENT_SLOTS], table_at[TABLE_SLOTS];
static PyTypeObject *waits_type, *table_type;
static PyObject *begin_in_python, *end_in_python, *emit_in_python;

enum { ROW = 21 };

/* The lowest-level entry for an address, 0 where no table is there: PageTable.peek. False: a case for Python. */
static int peek(PyObject *table, unsigned long long address, unsigned long long *entry)
{
    PyObject *leaf = *slot(table, table_at[TABLE_LEAF]), *entries = *slot(table, table_at[TABLE_ENTRIES]);
    PyObject *key, *first;
    const Py_buffer *view;
    long long at;

    if (!PyDict_CheckExact(leaf) || !PyMemoryView_Check(entries))
        return 0;
    key = PyLong_FromUnsignedLongLong(address >> get(table, table_at[TABLE_LEAF_SHIFT]));
    if (key == NULL)
        return 0;
    first = PyDict_GetItemWithError(leaf, key);
    Py_DECREF(key);
    *entry = 0;
    if (first == NULL)
        return !PyErr_Occurred();
    at = as_number(first) + (long long)(address >> 12 & (unsigned long long)get(table, table_at[TABLE_LEAF_MASK]));
    view = PyMemoryView_GET_BUFFER(entries);
    if (at < 0 || at >= view->len / view->itemsize)
        return 0;
    if (view->itemsize == 8) {
        const uint64_t value = ((const uint64_t *)view->buf)[at];
        *entry = *slot(table, table_at[TABLE_SWAP_BYTES]) == Py_True ? __builtin_bswap64(value) : value;
    } else if (view->itemsize == 4) {
        const uint32_t value = ((const uint32_t *)view->buf)[at];
        *entry = *slot(table, table_at[TABLE_SWAP_BYTES]) == Py_True ? __builtin_bswap32(value) : value;
    } else {
        return 0;
    }
    return 1;
}

/* The entry as a number of Python; NULL, without an exception where this is a case for Python. */
static PyObject *peek_number(PyObject *event, PyObject *address)
{
    PyObject *table = *slot(event, event_at[EVENT_TABLE]);
    unsigned long long entry;
    uint64_t number;

    if (as_unsigned(address, &number) || !Py_IS_TYPE(table, table_type) || !peek(table, number, &entry))
        return NULL;
    return PyLong_FromUnsignedLongLong(entry);
}

/* FaultEvent.sched and its tracepoints, where they and what the tracepoints point to are of the classes that are known
 * here: 1. */
static int find_tracepoints(PyObject *event, PyObject **sched, PyObject **tp)
{
    *sched = *slot(event, event_at[EVENT_SCHED]);
    if (!is_a(*sched, sched_type, &last_sched))
        return 0;
    *tp = *slot(*sched, sched_at[TP]);
    return is_a(*tp, tp_type, &last_tp) && Py_IS_TYPE(*slot(*tp, tp_at[TP_CURRENT]), waits_type)
           && PyList_CheckExact(*slot(*tp, tp_at[TP_ROWS])) && PyDict_CheckExact(*slot(*tp, tp_at[TP_OPEN]));
}

/* begin(address, ip) */
static PyObject *begin(PyObject *event, PyObject *const *args, Py_ssize_t count)
{
    PyObject *sched, *tp, *before = NULL, *waits, *rows, *number;
    const uint64_t *counts = NULL;

    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "begin takes the address of the fault and that of the instruction");
        return NULL;
    }
    if (find_tracepoints(event, &sched, &tp) && *slot(tp, tp_at[TP_CALLCHAIN]) == Py_None
        && *slot(tp, tp_at[TP_REGISTERS]) == Py_None)
        counts = counts_of(*slot(sched, sched_at[GUEST]));
    if (counts == NULL || (before = peek_number(event, args[0])) == NULL)
        return PyErr_Occurred() ? NULL : PyObject_CallFunctionObjArgs(begin_in_python, event, args[0], args[1], NULL);
    if (set(event, event_at[EVENT_BEFORE], before)
        || ((long long)(*counts >> 2) != get(sched, sched_at[MARK]) && drop(leave_guest(sched, NULL)))
        || set(event, event_at[EVENT_BEGUN], Py_NewRef(*slot(sched, sched_at[CLOCK]))))
        return NULL;
    waits = *slot(tp, tp_at[TP_CURRENT]);
    rows = *slot(tp, tp_at[TP_ROWS]);
    number = PyLong_FromLongLong(get(tp, tp_at[TP_FIRST]) + PyList_GET_SIZE(rows));
    if (set(event, event_at[EVENT_NUMBER], number) || PyDict_SetItem(*slot(tp, tp_at[TP_OPEN]), number, Py_None)
        || PyList_Append(rows, Py_None) || set(event, event_at[EVENT_STACK], PyTuple_New(0))
        || set(event, event_at[EVENT_REGISTERS], PyTuple_New(0)) || put(waits, waits_at[WAITS_WAIT], 0)
        || put(waits, waits_at[WAITS_HOLDER], 0))
        return NULL;
    Py_RETURN_NONE;
}

/* A row with what stands in every one, NULL where there is no memory. The rest of it is NULL, which a tuple that goes
 * may have. */
static PyObject *new_row(PyObject *tp, PyObject *time)
{
    PyObject *row = time == NULL ? NULL : PyTuple_New(ROW);

    if (row == NULL) {
        Py_XDECREF(time);
        return NULL;
    }
    PyTuple_SET_ITEM(row, 0, time);
    PyTuple_SET_ITEM(row, 1, Py_NewRef(*slot(tp, tp_at[TP_CPU])));
    PyTuple_SET_ITEM(row, 2, Py_NewRef(*slot(tp, tp_at[TP_PID])));
    PyTuple_SET_ITEM(row, 3, Py_NewRef(*slot(tp, tp_at[TP_TID])));
    return row;
}

static void fill(PyObject *row, Py_ssize_t from, PyObject *const *items, Py_ssize_t count)
{
    Py_ssize_t i;

    for (i = 0; i < count; i++)
        PyTuple_SET_ITEM(row, from + i, Py_NewRef(items[i]));
}

/* end(kind, address, ip, syndrome, flags, vma, path, reason, served, result, function) */
static PyObject *end(PyObject *event, PyObject *const *args, Py_ssize_t count)
{
    enum { KIND, ADDRESS, IP, SYNDROME, FLAGS, VMA, PATH, REASON, SERVED, RESULT, FUNCTION, ARGUMENTS };
    PyObject *sched, *tp, *after = NULL, *row, *waits, *rows, *before, *pair, *duration, *registers, *zero;
    PyObject *number, *whole[ARGUMENTS + 1];
    Py_ssize_t at;

    if (count != ARGUMENTS) {
        PyErr_SetString(PyExc_TypeError, "end takes eleven arguments");
        return NULL;
    }
    registers = *slot(event, event_at[EVENT_REGISTERS]);
    if (find_tracepoints(event, &sched, &tp) && PyTuple_CheckExact(registers) && PyTuple_GET_SIZE(registers) == 0)
        after = peek_number(event, args[ADDRESS]);
    if (after == NULL) {
        whole[0] = event;
        memcpy(whole + 1, args, ARGUMENTS * sizeof *args);
        return PyErr_Occurred() ? NULL : PyObject_Vectorcall(end_in_python, whole, ARGUMENTS + 1, NULL);
    }
    rows = *slot(tp, tp_at[TP_ROWS]);
    number = *slot(event, event_at[EVENT_NUMBER]);
    at = (Py_ssize_t)(as_number(number) - get(tp, tp_at[TP_FIRST]));
    before = *slot(event, event_at[EVENT_BEFORE]);
    pair = PyTuple_Pack(2, before, after);
    Py_DECREF(after);
    duration = PyLong_FromLongLong(get(sched, sched_at[CLOCK]) - get(event, event_at[EVENT_BEGUN]));
    zero = PyLong_FromLong(0);
    row = pair == NULL || duration == NULL || zero == NULL
              ? NULL : new_row(tp, Py_NewRef(*slot(event, event_at[EVENT_BEGUN])));
    if (row == NULL) {
        Py_XDECREF(pair);
        Py_XDECREF(duration);
        Py_XDECREF(zero);
        return NULL;
    }
    waits = *slot(tp, tp_at[TP_CURRENT]);
    fill(row, 4, args, 4); /* kind, address, ip, code */
    PyTuple_SET_ITEM(row, 8, zero);
    fill(row, 9, args + FLAGS, 5); /* flags, vma, path, reason, served */
    PyTuple_SET_ITEM(row, 14, Py_NewRef(*slot(waits, waits_at[WAITS_WAIT])));
    PyTuple_SET_ITEM(row, 15, Py_NewRef(*slot(waits, waits_at[WAITS_HOLDER])));
    fill(row, 16, args + RESULT, 2); /* result, text */
    PyTuple_SET_ITEM(row, 18, pair);
    PyTuple_SET_ITEM(row, 19, duration);
    PyTuple_SET_ITEM(row, 20, Py_NewRef(*slot(event, event_at[EVENT_STACK])));
    if (PyList_SetItem(rows, at, row) || PyDict_DelItem(*slot(tp, tp_at[TP_OPEN]), number))
        return NULL;
    Py_RETURN_NONE;
}

/* The parameters of Tracepoints.emit, and where they stand in a row. */
enum { EMIT_KIND, EMIT_TEXT = 8, EMIT_ARGS = 9, EMIT_STACK = 14, EMITTED = 15 };
static const char *const emit_names[EMITTED] = {
    "kind", "address", "ip", "code", "size", "flags", "vma", "result", "text", "args", "wait", "holder", "reason",
    "duration", "stack",
};
static const Py_ssize_t emit_places[EMITTED] = {4, 5, 6, 7, 8, 9, 10, 16, 17, 18, 14, 15, 12, 19, 20};
static PyObject *emit_keys[EMITTED]; /* the names, interned */

static int keep_keys(void)
{
    int i;

    for (i = 0; i < EMITTED && emit_keys[EMITTED - 1] == NULL; i++) {
        emit_keys[i] = PyUnicode_InternFromString(emit_names[i]);
        if (emit_keys[i] == NULL)
            return -1;
    }
    return 0;
}

/* Puts the arguments that have a name into their places: False where one is unknown, not interned, or there twice. */
static int by_name(PyObject *names, PyObject *const *args, PyObject **given)
{
    Py_ssize_t i, at;

    for (i = 0; i < PyTuple_GET_SIZE(names); i++) {
        for (at = 0; at < EMITTED && emit_keys[at] != PyTuple_GET_ITEM(names, i); at++)
            ;
        if (at == EMITTED || given[at] != NULL)
            return 0;
        given[at] = args[i];
    }
    return 1;
}

static PyObject *emit(PyObject *tp, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    const Py_ssize_t named = names == NULL ? 0 : PyTuple_GET_SIZE(names);
    PyObject *given[EMITTED] = {NULL}, *source = *slot(tp, tp_at[TP_SOURCE]), *rows = *slot(tp, tp_at[TP_ROWS]);
    PyObject *all[EMITTED + 1], *row, *zero, *empty;
    Py_ssize_t i;

    if (keep_keys())
        return NULL;
    if (count >= 1 && count + named <= EMITTED)
        memcpy(given, args, (size_t)count * sizeof *args);
    if (given[EMIT_KIND] == NULL || (named && !by_name(names, args + count, given))
        || *slot(tp, tp_at[TP_CALLCHAIN]) != Py_None || !PyList_CheckExact(rows)) {
        if (count + named > EMITTED)
            return PyErr_Format(PyExc_TypeError, "emit takes at most %d arguments", EMITTED);
        all[0] = tp;
        memcpy(all + 1, args, (size_t)(count + named) * sizeof *args);
        return PyObject_Vectorcall(emit_in_python, all, (size_t)count + 1, names);
    }
    row = new_row(tp, is_a(source, sched_type, &last_sched) ? Py_NewRef(*slot(source, sched_at[CLOCK]))
                                                              : PyObject_GetAttrString(source, "clock"));
    if (row == NULL)
        return NULL;
    zero = PyLong_FromLong(0);
    empty = PyTuple_New(0);
    if (zero == NULL || empty == NULL) {
        Py_XDECREF(zero);
        Py_DECREF(row);
        return NULL;
    }
    for (i = 0; i < EMITTED; i++) {
        PyObject *item = given[i];
        if (item == NULL)
            item = i == EMIT_TEXT ? Py_None : i == EMIT_ARGS || i == EMIT_STACK ? empty : zero;
        PyTuple_SET_ITEM(row, emit_places[i], Py_NewRef(item));
    }
    PyTuple_SET_ITEM(row, 11, Py_NewRef(zero)); /* path */
    PyTuple_SET_ITEM(row, 13, zero);            /* served */
    Py_DECREF(empty);
    i = PyList_Append(rows, row);
    Py_DECREF(row);
    if (i)
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef event_methods[] = {
    {"begin", (PyCFunction)(void (*)(void))begin, METH_FASTCALL, "FaultEvent.begin"},
    {"end", (PyCFunction)(void (*)(void))end, METH_FASTCALL, "FaultEvent.end"},
    {NULL, NULL, 0, NULL},
};
static PyMethodDef tracepoints_methods[] = {
    {"emit", (PyCFunction)(void (*)(void))emit, METH_FASTCALL | METH_KEYWORDS, "Tracepoints.emit"},
    {NULL, NULL, 0, NULL},
};

struct adopted event_classes[] = {
    {"Tracepoints", tp_names, tp_at, TP_SLOTS, &tp_type, tracepoints_methods},
    {"FaultEvent", event_names, event_at, EVENT_SLOTS, NULL, event_methods},
    {"Waits", waits_names, waits_at, WAITS_SLOTS, &waits_type, NULL},
    {"PageTable", table_names, table_at, TABLE_SLOTS, &table_type, NULL},
    {NULL, NULL, NULL, 0, NULL, NULL},
};
struct passed_on event_passed_on[] = {
    {&begin_in_python, "FaultEvent", "begin"},
    {&end_in_python, "FaultEvent", "end"},
    {&emit_in_python, "Tracepoints", "emit"},
    {NULL, NULL, NULL},
};
