/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What CPUs share when they take pages, in C: Batches.new_anon and Section.hold of emu/mm/batches.py.
 */
#include "_slots.h"

enum { SHARES_IN_STOCK, SHARES_MEMCG, SHARES_NUMBERS, SHARES_SCHED, SHARES_SHARES, SHARES_SLOTS };
enum {
    SHARE_FOLIOS, SHARE_FRAMES, SHARE_GRANTED, SHARE_LRU, SHARE_MEMORY, SHARE_READY, SHARE_STOCK, SHARE_ZONE,
    SHARE_SLOTS,
};
enum { MEMORY_FULL, MEMORY_PAGES, MEMORY_SLOTS };
enum { SECTION_BEGINS, SECTION_ENDS, SECTION_OWNER, SECTION_WAIT, SECTION_SLOTS };

static const char *const batches_names[] = {"_in_stock", "memcg", "_numbers", "sched", "_shares"};
static const char *const share_names[] = {"folios", "frames", "_granted", "lru", "memory", "ready", "stock", "zone"};
static const char *const memory_names[] = {"full", "pages"};
static const char *const section_names[] = {"begins", "ends", "owner", "wait"};
static Py_ssize_t batches_at[SHARES_SLOTS], share_at[SHARE_SLOTS], memory_at[MEMORY_SLOTS], section_at[SECTION_SLOTS];
static PyTypeObject *share_type, *memory_type, *section_type, *last_section;
static PyObject *new_anon_in_python, *hold_in_python;

/* What is on the running CPU's own shares: 1; 0: not all of it is; -1: an error. */
static int take_own(PyObject *batches)
{
    PyObject *sched = *slot(batches, batches_at[SHARES_SCHED]), *shares = *slot(batches, batches_at[SHARES_SHARES]);
    PyObject *in_stock = *slot(batches, batches_at[SHARES_IN_STOCK]), *rq = *slot(sched, sched_at[RQ]);
    PyObject *share, *times, *memory, *pages, *window, *used, *more;
    long long clock = get_moment(sched, sched_at[CLOCK]), number;
    int stored = -1;

    share = PyList_CheckExact(shares) ? PyList_GetItem(shares, (Py_ssize_t)get(rq, rq_at[RQ_ID])) : NULL;
    if (share == NULL || !Py_IS_TYPE(share, share_type) || !PyDict_CheckExact(in_stock)
        || get(share, share_at[SHARE_READY]) <= 0 || clock >= LLONG_MAX >> 1)
        return PyErr_Occurred() ? -1 : 0;
    times = PyDict_GetItemWithError(in_stock, *slot(rq, rq_at[RQ_RATE]));
    memory = *slot(share, share_at[SHARE_MEMORY]);
    if (times == NULL || !PyTuple_CheckExact(times) || !Py_IS_TYPE(memory, memory_type))
        return PyErr_Occurred() ? -1 : 0;
    clock += as_number(PyTuple_GET_ITEM(times, 0));
    pages = *slot(memory, memory_at[MEMORY_PAGES]);
    window = PyLong_FromLongLong(clock / window_ns);
    if (window == NULL)
        return -1;
    used = PyDict_GetItemWithError(pages, window);
    number = used == NULL ? LLONG_MAX : as_number(used);
    if (number < get(memory, memory_at[MEMORY_FULL]) && (more = PyLong_FromLongLong(number + 1)) != NULL) {
        stored = PyDict_SetItem(pages, window, more);
        Py_DECREF(more);
    } else if (!PyErr_Occurred()) {
        stored = 1;
    }
    Py_DECREF(window);
    if (stored)
        return stored < 0 ? -1 : 0;
    return add(share, share_at[SHARE_READY], -1)
           || put(sched, sched_at[CLOCK], clock + as_number(PyTuple_GET_ITEM(times, 1))) ? -1 : 1;
}

/* What the list of a section costs whose lock comes from another CPU; -1: an exception. */
static long long list_lines(PyObject *sched)
{
    PyObject *cost = PyObject_GetAttrString(sched, "cost");
    PyObject *lines = cost == NULL ? NULL : PyObject_GetAttrString(cost, "list_lines");
    const long long number = lines == NULL ? -1 : PyLong_AsLongLong(lines);

    Py_XDECREF(cost);
    Py_XDECREF(lines);
    return number;
}

static int insert(PyObject *list, Py_ssize_t at, long long value)
{
    PyObject *number = PyLong_FromLongLong(value);
    const int error = number == NULL || PyList_Insert(list, at, number);

    Py_XDECREF(number);
    return error ? -1 : 0;
}

/* The running CPU holds the section for some ns: 1; 0: a case for Python, nothing has changed; -1: an exception. */
static int hold_for(PyObject *section, PyObject *sched, long long ns)
{
    PyObject *begins = *slot(section, section_at[SECTION_BEGINS]), *ends = *slot(section, section_at[SECTION_ENDS]);
    const long long owner = get(section, section_at[SECTION_OWNER]);
    const long long clock = get_moment(sched, sched_at[CLOCK]), horizon = get_moment(sched, sched_at[HORIZON]);
    const long long cpu = get(*slot(sched, sched_at[RQ]), rq_at[RQ_ID]);
    long long begin = clock, lines = 0, way = 0;
    Py_ssize_t past, place;

    if (owner != cpu && owner >= 0) {
        lines = list_lines(sched);
        way = journey(sched, owner, cpu);
    }
    if (clock > LLONG_MAX >> 1 || ns < 0 || ns > LLONG_MAX >> 16 || lines < 0 || way < 0 || !PyList_CheckExact(begins)
        || !PyList_CheckExact(ends)) {
        PyErr_Clear();
        return 0;
    }
    past = bisect_right(ends, clock < horizon ? clock : horizon);
    if (past && (PyList_SetSlice(begins, 0, past, NULL) || PyList_SetSlice(ends, 0, past, NULL)))
        return -1;
    begin += way;
    ns += way * lines;
    if (owner != cpu && put(section, section_at[SECTION_OWNER], cpu))
        return -1;
    place = bisect_right(ends, begin);
    while (place < PyList_GET_SIZE(begins) && as_number(PyList_GET_ITEM(begins, place)) < begin + ns) {
        begin = as_number(PyList_GET_ITEM(ends, place));
        place++;
    }
    if (insert(begins, place, begin) || insert(ends, place, begin + ns)
        || add(section, section_at[SECTION_WAIT], begin - clock)
        || put(sched, sched_at[CLOCK], begin + ns))
        return -1;
    return 1;
}

/* hold(sched, ns) */
static PyObject *hold(PyObject *section, PyObject *const *args, Py_ssize_t count)
{
    int held;

    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "hold takes the scheduler and for how long");
        return NULL;
    }
    held = is_a(args[0], sched_type, &last_sched) ? hold_for(section, args[0], as_number(args[1])) : 0;
    if (held == 0)
        return PyObject_CallFunctionObjArgs(hold_in_python, section, args[0], args[1], NULL);
    return held < 0 ? NULL : Py_NewRef(Py_None);
}

/* Of a section that C knows, else by its method: 0, or -1. */
static int hold_section(PyObject *section, PyObject *sched, long long ns)
{
    const int held = is_a(section, section_type, &last_section) ? hold_for(section, sched, ns) : 0;

    if (held)
        return held < 0 ? -1 : 0;
    return drop(PyObject_CallMethod(section, "hold", "OL", sched, ns));
}

/* Where the running CPU has not all that a page needs of its own: what follows in Batches.new_anon. 1; 0: a case for
 * Python, nothing has changed; -1: an exception. */
static int take_from_others(PyObject *batches)
{
    enum { REFILL, PCP_BATCH, ALLOC, CLEAR_PAGE, ATOMIC, MEMCG_BATCH, LRU_BATCH, DRAIN, ADD, ANON_FAULT, NUMBERS };
    PyObject *sched = *slot(batches, batches_at[SHARES_SCHED]), *shares = *slot(batches, batches_at[SHARES_SHARES]);
    PyObject *numbers = *slot(batches, batches_at[SHARES_NUMBERS]), *share;
    long long n[NUMBERS], used, ready;
    int i;

    share = PyList_CheckExact(shares)
                ? PyList_GetItem(shares, (Py_ssize_t)get(*slot(sched, sched_at[RQ]), rq_at[RQ_ID])) : NULL;
    if (share == NULL || !Py_IS_TYPE(share, share_type) || !PyTuple_CheckExact(numbers)
        || PyTuple_GET_SIZE(numbers) != NUMBERS || get_moment(sched, sched_at[CLOCK]) > LLONG_MAX >> 1)
        return PyErr_Occurred() ? -1 : 0;
    for (i = 0; i < NUMBERS; i++)
        n[i] = as_number(PyTuple_GET_ITEM(numbers, i));
    used = get(share, share_at[SHARE_GRANTED]) - get(share, share_at[SHARE_READY]); /* Share.settle */
    if (add(share, share_at[SHARE_FRAMES], -used) || add(share, share_at[SHARE_STOCK], -used)
        || add(share, share_at[SHARE_FOLIOS], used))
        return -1;
    if (!get(share, share_at[SHARE_FRAMES])) { /* _take_frame */
        if (hold_section(*slot(share, share_at[SHARE_ZONE]), sched, n[REFILL])
            || put(share, share_at[SHARE_FRAMES], n[PCP_BATCH]))
            return -1;
    }
    if (add(share, share_at[SHARE_FRAMES], -1) || charge_ns(sched, n[ALLOC])
        || drop(PyObject_CallMethod(*slot(share, share_at[SHARE_MEMORY]), "page", "O", sched)) /* clear */
        || charge_ns(sched, n[CLEAR_PAGE]))
        return -1;
    if (!get(share, share_at[SHARE_STOCK])) { /* _add_folio */
        if (hold_section(*slot(batches, batches_at[SHARES_MEMCG]), sched, n[ATOMIC])
            || put(share, share_at[SHARE_STOCK], n[MEMCG_BATCH]))
            return -1;
    }
    if (add(share, share_at[SHARE_STOCK], -1) || add(share, share_at[SHARE_FOLIOS], 1))
        return -1;
    if (get(share, share_at[SHARE_FOLIOS]) == n[LRU_BATCH]
        && (put(share, share_at[SHARE_FOLIOS], 0)
            || hold_section(*slot(share, share_at[SHARE_LRU]), sched, n[DRAIN])))
        return -1;
    ready = n[LRU_BATCH] - 1 - get(share, share_at[SHARE_FOLIOS]); /* Share.grant */
    if (get(share, share_at[SHARE_FRAMES]) < ready)
        ready = get(share, share_at[SHARE_FRAMES]);
    if (get(share, share_at[SHARE_STOCK]) < ready)
        ready = get(share, share_at[SHARE_STOCK]);
    return charge_ns(sched, n[ADD]) || put(share, share_at[SHARE_READY], ready)
           || put(share, share_at[SHARE_GRANTED], ready) || charge_ns(sched, n[ANON_FAULT]) ? -1 : 1;
}

static PyObject *new_anon(PyObject *batches, PyObject *unused)
{
    int taken = take_own(batches);

    (void)unused;
    if (taken == 0)
        taken = take_from_others(batches);
    if (taken < 0)
        return NULL;
    return taken ? Py_NewRef(Py_None) : PyObject_CallOneArg(new_anon_in_python, batches);
}

static PyMethodDef batches_methods[] = {
    {"new_anon", new_anon, METH_NOARGS, "Batches.new_anon"},
    {NULL, NULL, 0, NULL},
};
static PyMethodDef section_methods[] = {
    {"hold", (PyCFunction)(void (*)(void))hold, METH_FASTCALL, "Section.hold"},
    {NULL, NULL, 0, NULL},
};

struct adopted batches_classes[] = {
    {"Batches", batches_names, batches_at, SHARES_SLOTS, NULL, batches_methods},
    {"Section", section_names, section_at, SECTION_SLOTS, &section_type, section_methods},
    {"Share", share_names, share_at, SHARE_SLOTS, &share_type, NULL},
    {"Bandwidth", memory_names, memory_at, MEMORY_SLOTS, &memory_type, NULL},
    {NULL, NULL, NULL, 0, NULL, NULL},
};
struct passed_on batches_passed_on[] = {
    {&new_anon_in_python, "Batches", "new_anon"},
    {&hold_in_python, "Section", "hold"},
    {NULL, NULL, NULL},
};
