/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CPUs beside each other, in C: what emu/sched/cacheline.py says of a cache line that goes from one to another, what
 * Sched._next_turn says of whose turn it is, what emu/locking/spinlock.py and PteLocks say of a lock that is free, and
 * what vma_lock says of readers.
 *
 * All objects but cache lines stay objects of Python; their slots are read and written here. Only what comes in every
 * fault where many CPUs fault is done, all else is left to the method in Python. Both give the same numbers; a test
 * compares them.
 *
 * Figures: a fault with 64 CPUs executes 3,050 bytecodes of Python without the C files here, and 1,230 with them.
 */
#include "_slots.h"
#include <structmember.h>

enum { ASKED, COPIES, LINE_SLOTS };
enum { SPIN_BEGUN_AT, SPIN_FREE_AT, SPIN_LINE, SPIN_OWNER, SPIN_QUEUE, SPIN_SCHED, SPIN_SLOTS };
enum { VMA_LOCK_LINE, VMA_LOCK_READERS, VMA_LOCK_SCHED, VMA_LOCK_SLOTS };
enum { PTE_LOCKS_LEAF_BITS, PTE_LOCKS_SLOTS };

static const char *const line_names[] = {"asked", "copies"};
static const char *const sched_names[] = {
    "alone", "_busy", "clock", "current", "end", "exchange_load", "guest", "horizon", "mark", "_noise", "rq", "rqs",
    "_timer_due", "tp", "transfer", "transfer_hold",
};
static const char *const rq_names[] = {"clock", "curr", "id", "interrupted", "rate", "slice_end", "waiting"};
static const char *const task_names[] = {"greenlet", "pid", "tgid", "utime", "waits"};
static const char *const spin_names[] = {"begun_at", "free_at", "line", "owner", "queue", "sched"};
static const char *const vma_lock_names[] = {"line", "readers", "sched"};
static const char *const pte_locks_names[] = {"leaf_bits"};
Py_ssize_t sched_at[SCHED_SLOTS], rq_at[RQ_SLOTS], tp_at[TP_SLOTS], task_at[TASK_SLOTS];
static Py_ssize_t vma_lock_at[VMA_LOCK_SLOTS], pte_locks_at[PTE_LOCKS_SLOTS], line_at[LINE_SLOTS], spin_at[SPIN_SLOTS];
PyTypeObject *sched_type, *tp_type, *last_sched, *last_tp;
static PyTypeObject *rq_type, *task_type, *last_task, *line_type, *spinlock_type;
static PyObject *write_in_python, *exchange_in_python, *turn_in_python, *charge_in_python, *read_in_python;
static PyObject *unlock_in_python, *lock_in_python, *name_slowly, *name_slowpath;
static PyObject *enter_in_python, *leave_in_python, *deadline_in_python;
static void **greenlet_api;
static long long settle, run_ahead, lookahead, retired_at;
long long window_ns;

/* What a CacheLine of this machine has in place of its slots, but for `copies`, which may be a large number. */
struct line {
    long long owner, free_at, settled, wait, transfers;
};
static Py_ssize_t line_offset; /* of it, in such an object */

static inline struct line *line_of(PyObject *line)
{
    return (struct line *)((char *)line + line_offset);
}

/* One access that the running CPU makes to a line. */
struct access {
    long long cpu, clock, journey, held;
};

/* How long a line takes from one CPU to another: those of `journeys_of`, a Sched.transfer, packed, for each access is
 * to other ones. */
static PyObject *journeys_of;
static unsigned short *journeys;
static Py_ssize_t cpus;

/* 0, or -1 where the rows are not as they should be. */
static int pack_journeys(PyObject *rows)
{
    const Py_ssize_t count = PyList_CheckExact(rows) ? PyList_GET_SIZE(rows) : 0;
    unsigned short *packed = count ? PyMem_Malloc((size_t)(count * count) * sizeof *packed) : NULL;
    Py_ssize_t from, to;

    for (from = 0; packed != NULL && from < count; from++) {
        PyObject *row = PyList_GET_ITEM(rows, from);
        for (to = 0; to < count; to++) {
            const long long ns = PyList_CheckExact(row) && PyList_GET_SIZE(row) == count
                                     ? as_number(PyList_GET_ITEM(row, to)) : -1;
            if (ns < 0 || ns > USHRT_MAX) {
                PyErr_Clear();
                PyMem_Free(packed);
                return -1;
            }
            packed[from * count + to] = (unsigned short)ns;
        }
    }
    if (packed == NULL)
        return -1;
    PyMem_Free(journeys);
    journeys = packed;
    cpus = count;
    Py_XSETREF(journeys_of, Py_NewRef(rows));
    return 0;
}

/* How long a line takes from one CPU to another, in ns; -1: this is a case for Python. */
long long journey(PyObject *sched, long long from, long long to)
{
    PyObject *rows = *slot(sched, sched_at[TRANSFER]);

    if ((rows != journeys_of && pack_journeys(rows)) || from >= cpus || to >= cpus)
        return -1;
    return journeys[from * cpus + to];
}

/* False: this is a case for Python. The numbers are as small as times and CPUs are. */
static int look(PyObject *line, PyObject *sched, struct access *to)
{
    const struct line *used = line_of(line);
    PyObject *copies;

    if (!is_a(sched, sched_type, &last_sched))
        return 0;
    if (*slot(line, line_at[ASKED]) != Py_None)
        return 0;
    copies = *slot(line, line_at[COPIES]);
    to->cpu = get(*slot(sched, sched_at[RQ]), rq_at[RQ_ID]);
    to->clock = get(sched, sched_at[CLOCK]);
    if (!PyLong_Check(copies) || Py_SIZE(copies) != 0 || used->owner < 0)
        return 0;
    if (used->owner == to->cpu)
        return 1;
    to->journey = journey(sched, used->owner, to->cpu);
    if (to->journey < 0)
        return 0;
    to->held = to->journey * get(sched, sched_at[TRANSFER_HOLD]) / 100;
    return 1;
}

static long long max(long long a, long long b)
{
    return a > b ? a : b;
}

/* The line makes a journey to the running CPU, if it is not there already. Where it queues for the line, `more` per
 * cent of the journey keep the next one waiting, beyond what one keeps. */
static PyObject *use_line(PyObject *line, PyObject *sched, long long more, PyObject *in_python)
{
    struct line *used = line_of(line);
    struct access to;
    long long begin, arrived;

    if (!look(line, sched, &to))
        return PyObject_CallFunctionObjArgs(in_python, line, sched, NULL);
    if (used->owner == to.cpu) {
        used->free_at = max(to.clock, used->free_at);
        Py_RETURN_NONE;
    }
    begin = max(to.clock, used->free_at);
    used->free_at = begin + to.held + (begin > to.clock ? to.held * more / 100 : 0);
    arrived = begin + to.journey;
    used->owner = to.cpu;
    used->wait += arrived - to.clock;
    used->transfers++;
    used->settled = arrived + settle;
    if (put(sched, sched_at[CLOCK], arrived))
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *write_line(PyObject *line, PyObject *sched)
{
    return use_line(line, sched, 0, write_in_python);
}

static PyObject *exchange_line(PyObject *line, PyObject *sched)
{
    if (!is_a(sched, sched_type, &last_sched))
        return PyObject_CallFunctionObjArgs(exchange_in_python, line, sched, NULL);
    return use_line(line, sched, get(sched, sched_at[EXCHANGE_LOAD]), exchange_in_python);
}

static PyObject *next_turn(PyObject *sched, PyObject *unused)
{
    struct turns *busy = (struct turns *)*slot(sched, sched_at[BUSY]);
    PyObject *rqs = *slot(sched, sched_at[RQS]), *rq = *slot(sched, sched_at[RQ]), *tp = *slot(sched, sched_at[TP]);
    PyObject *task;
    struct turn turn = {get_moment(sched, sched_at[CLOCK]), 0};
    long long due, first;

    (void)unused;
    if (!Py_IS_TYPE((PyObject *)busy, &turns_type) || !PyList_Check(rqs) || !Py_IS_TYPE(rq, rq_type)
        || !is_a(tp, tp_type, &last_tp) || PyObject_IsTrue(*slot(sched, sched_at[NOISE])) || turn.clock == LLONG_MAX)
        return PyObject_CallOneArg(turn_in_python, sched);
    if (put(rq, rq_at[RQ_CLOCK], turn.clock))
        return NULL;
    due = get_moment(sched, sched_at[TIMER_DUE]);
    if (busy->count == 0 || busy->turn[0].clock >= due || busy->turn[0].clock >= get_moment(sched, sched_at[END]))
        Py_RETURN_NONE;
    turn.cpu = (long)get(rq, rq_at[RQ_ID]);
    turn = push_and_pop(busy, turn);
    rq = PyList_GetItem(rqs, turn.cpu);
    if (rq == NULL || put(sched, sched_at[CLOCK], turn.clock))
        return NULL;
    task = *slot(rq, rq_at[RQ_CURR]);
    if (!is_a(task, task_type, &last_task)) {
        PyErr_SetString(PyExc_TypeError, "a CPU waits for its turn that runs no task");
        return NULL;
    }
    first = busy->turn[0].clock;
    if (set(sched, sched_at[RQ], Py_NewRef(rq)) || set(sched, sched_at[CURRENT], Py_NewRef(task))
        || put(sched, sched_at[HORIZON], first < due ? first : due)
        || set(tp, tp_at[TP_CPU], Py_NewRef(*slot(rq, rq_at[RQ_ID])))
        || set(tp, tp_at[TP_PID], Py_NewRef(*slot(task, task_at[TASK_TGID])))
        || set(tp, tp_at[TP_TID], Py_NewRef(*slot(task, task_at[TASK_PID])))
        || set(tp, tp_at[TP_CURRENT], Py_NewRef(*slot(task, task_at[TASK_WAITS]))))
        return NULL;
    return Py_NewRef(task);
}

/* Where an engine counts what its guest has retired (Sched.guest); NULL: that is no structure of C. */
const uint64_t *counts_of(PyObject *guest)
{
    static PyObject *last;
    static const uint64_t *counts;
    Py_buffer view;

    if (guest == last)
        return counts;
    if (!PyObject_CheckBuffer(guest) || PyObject_GetBuffer(guest, &view, PyBUF_SIMPLE)) {
        PyErr_Clear();
        return NULL;
    }
    if (view.len >= retired_at + (Py_ssize_t)sizeof *counts) {
        counts = (const uint64_t *)((char *)view.buf + retired_at); /* it stays there as long as the object does */
        Py_XSETREF(last, Py_NewRef(guest));
    }
    PyBuffer_Release(&view);
    return guest == last ? counts : NULL;
}

static PyObject *enter_guest(PyObject *sched, PyObject *guest)
{
    const uint64_t *counts = counts_of(guest);
    PyObject *rq = *slot(sched, sched_at[RQ]);

    if (counts == NULL || get(rq, rq_at[RQ_INTERRUPTED]))
        return PyObject_CallFunctionObjArgs(enter_in_python, sched, guest, NULL);
    if (set(sched, sched_at[GUEST], Py_NewRef(guest)) || put(sched, sched_at[MARK], (long long)(*counts >> 2)))
        return NULL;
    Py_RETURN_NONE;
}

PyObject *leave_guest(PyObject *sched, PyObject *unused)
{
    const uint64_t *counts = counts_of(*slot(sched, sched_at[GUEST]));
    PyObject *task = *slot(sched, sched_at[CURRENT]);
    const long long mark = get(sched, sched_at[MARK]), clock = get_moment(sched, sched_at[CLOCK]);
    long long ns;

    (void)unused;
    ns = counts == NULL ? -1 : (long long)(*counts >> 2) - mark;
    if (ns < 0 || ns > LLONG_MAX >> 16 || clock > LLONG_MAX >> 1 || !is_a(task, task_type, &last_task))
        return PyObject_CallOneArg(leave_in_python, sched);
    ns = ns * get(*slot(sched, sched_at[RQ]), rq_at[RQ_RATE]) / 100;
    if (put(sched, sched_at[MARK], (long long)(*counts >> 2)) || put(sched, sched_at[CLOCK], clock + ns)
        || add(task, task_at[TASK_UTIME], ns))
        return NULL;
    Py_RETURN_NONE;
}

static const long long NEVER = 1ll << 62; /* sched.INFINITY */

static PyObject *user_deadline(PyObject *sched, PyObject *unused)
{
    const struct turns *busy = (const struct turns *)*slot(sched, sched_at[BUSY]);
    PyObject *rq = *slot(sched, sched_at[RQ]);
    const long long due = get_moment(sched, sched_at[TIMER_DUE]), waiting = get(rq, rq_at[RQ_WAITING]);
    const int known = Py_IS_TYPE((PyObject *)busy, &turns_type), others = known && busy->count > 0;
    long long until = others ? busy->turn[0].clock : NEVER;

    (void)unused;
    if (!known || until > NEVER || (others && PyObject_IsTrue(*slot(sched, sched_at[NOISE]))))
        return PyObject_CallOneArg(deadline_in_python, sched);
    if (others)
        until += lookahead;
    if (until > get_moment(sched, sched_at[END]))
        return PyObject_CallOneArg(deadline_in_python, sched);
    if (due < until)
        until = due;
    if (waiting && get_moment(rq, rq_at[RQ_SLICE_END]) < until)
        until = get_moment(rq, rq_at[RQ_SLICE_END]);
    if (set(sched, sched_at[ALONE], PyBool_FromLong(!others && !waiting)))
        return NULL;
    return PyLong_FromLongLong(until);
}

/* Functions of greenlet's C interface (greenlet.h); its `switch` as a method of Python takes half as long again. */
enum { GREENLET_TYPE, GREENLET_SWITCH = 6, GREENLET_ACTIVE = 10 };

static int is_active(PyObject *greenlet)
{
    return PyObject_TypeCheck(greenlet, (PyTypeObject *)greenlet_api[GREENLET_TYPE])
           && ((int (*)(PyObject *))greenlet_api[GREENLET_ACTIVE])(greenlet);
}

static PyObject *switch_to(PyObject *greenlet)
{
    return ((PyObject * (*)(PyObject *, PyObject *, PyObject *))greenlet_api[GREENLET_SWITCH])(greenlet, NULL, NULL);
}

/* The thread that runs steps back: another one goes on from where it did so, until it is the turn of this one again. */
static PyObject *step_back(PyObject *sched)
{
    PyObject *me = *slot(sched, sched_at[CURRENT]), *task = next_turn(sched, NULL), *greenlet, *result;

    if (task == me || task == NULL) {
        Py_XDECREF(task);
        return task == NULL ? NULL : Py_NewRef(Py_None);
    }
    greenlet = task == Py_None ? NULL : *slot(task, task_at[TASK_GREENLET]);
    if (greenlet != NULL && is_active(greenlet)) {
        Py_DECREF(task);
        Py_INCREF(greenlet);
        result = switch_to(greenlet);
        Py_DECREF(greenlet);
        return result;
    }
    result = PyObject_CallMethodOneArg(sched, name_slowly, task);
    Py_DECREF(task);
    return result;
}

static int is_line(PyObject *line)
{
    if (Py_IS_TYPE(line, line_type))
        return 1;
    PyErr_SetString(PyExc_TypeError, "not a cache line of this machine");
    return 0;
}

/* Has the running CPU the line, and nobody a copy. */
static int is_own(PyObject *sched, PyObject *line)
{
    PyObject *copies = *slot(line, line_at[COPIES]);

    return line_of(line)->owner == get(*slot(sched, sched_at[RQ]), rq_at[RQ_ID]) && PyLong_Check(copies)
           && Py_SIZE(copies) == 0;
}

/* Let others go first, unless the line has been the CPU's own for a while and it is not too far ahead: 0 or -1. */
static int sync_to(PyObject *sched, PyObject *line, long long ahead)
{
    long long clock = get(sched, sched_at[CLOCK]);

    if (is_own(sched, line) && line_of(line)->settled <= clock
        && clock - ahead <= get_moment(sched, sched_at[HORIZON]))
        return 0;
    return drop(step_back(sched));
}

/* sync_for(line, ahead=RUN_AHEAD) */
static PyObject *sync_for(PyObject *sched, PyObject *const *args, Py_ssize_t count)
{
    if (count < 1 || count > 2) {
        PyErr_SetString(PyExc_TypeError, "sync_for takes a line, and how far ahead of others one may be");
        return NULL;
    }
    if (!is_line(args[0]) || sync_to(sched, args[0], count == 2 ? PyLong_AsLongLong(args[1]) : run_ahead))
        return NULL;
    Py_RETURN_NONE;
}

static int is_past_horizon(PyObject *sched)
{
    return get(sched, sched_at[CLOCK]) > get_moment(sched, sched_at[HORIZON]);
}

/* It is the CPU's turn to use a line: let others go first where it is past the horizon. 0 or -1. */
static int take_turn(PyObject *sched, PyObject *line, long long ahead)
{
    return !is_line(line) || (is_past_horizon(sched) && sync_to(sched, line, ahead)) ? -1 : 0;
}

static PyObject *sched_write_line(PyObject *sched, PyObject *line)
{
    if (take_turn(sched, line, run_ahead))
        return NULL;
    return write_line(line, sched);
}

static PyObject *claim_line(PyObject *sched, PyObject *line)
{
    if (take_turn(sched, line, lookahead))
        return NULL;
    if (is_own(sched, line))
        Py_RETURN_NONE;
    return write_line(line, sched);
}

/* The running CPU works for so long, which is not so long that it does not fit: 0, or -1. */
int charge_ns(PyObject *sched, long long ns)
{
    return add(sched, sched_at[CLOCK], ns * get(*slot(sched, sched_at[RQ]), rq_at[RQ_RATE]) / 100);
}

/* charge(ns): less than 0 is possible, as is work of several seconds. */
static PyObject *charge(PyObject *sched, PyObject *work)
{
    const long long ns = as_number(work), clock = get_moment(sched, sched_at[CLOCK]);

    if (ns < 0 || ns > LLONG_MAX >> 16 || clock > LLONG_MAX >> 1) {
        PyErr_Clear();
        return PyObject_CallFunctionObjArgs(charge_in_python, sched, work, NULL);
    }
    if (charge_ns(sched, ns))
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *charge_for(PyObject *sched, PyObject *const *args, Py_ssize_t count)
{
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "charge_for takes how long it is worked, and the line that is used then");
        return NULL;
    }
    if (drop(charge(sched, args[0])) || take_turn(sched, args[1], run_ahead))
        return NULL;
    Py_RETURN_NONE;
}

/* Has a CPU a copy: a bit of a number of up to 256 of them. */
static int has_copy(PyObject *copies, long long cpu)
{
    if (Py_SIZE(copies) == 0)
        return 0;
#if PY_VERSION_HEX < 0x030c0000
    return cpu / PyLong_SHIFT < Py_SIZE(copies)
           && ((PyLongObject *)copies)->ob_digit[cpu / PyLong_SHIFT] >> cpu % PyLong_SHIFT & 1;
#else
    return 0; /* Python will see */
#endif
}

static PyObject *read_line(PyObject *sched, PyObject *line)
{
    struct line *used;
    struct access to;
    long long begin;

    if (!is_line(line))
        return NULL;
    used = line_of(line);
    if (*slot(line, line_at[ASKED]) == Py_None
        && (used->owner < 0
            || has_copy(*slot(line, line_at[COPIES]), get(*slot(sched, sched_at[RQ]), rq_at[RQ_ID]))))
        Py_RETURN_NONE;
    if (is_past_horizon(sched) || !look(line, sched, &to) || to.cpu >= 62)
        return PyErr_Occurred() ? NULL : PyObject_CallFunctionObjArgs(read_in_python, sched, line, NULL);
    if (used->owner == to.cpu)
        Py_RETURN_NONE;
    begin = max(to.clock, used->free_at); /* the first copy: CacheLine.read */
    used->free_at = begin + to.held;
    used->transfers++;
    used->settled = begin + to.journey + settle;
    used->wait += begin + to.journey - to.clock;
    if (set(line, line_at[COPIES], PyLong_FromLongLong(1ll << to.cpu))
        || put(sched, sched_at[CLOCK], begin + to.journey))
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *read_and_charge(PyObject *sched, PyObject *const *args, Py_ssize_t count)
{
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "read_and_charge takes the line that is read, and how long it is worked");
        return NULL;
    }
    if (args[0] != Py_None && drop(read_line(sched, args[0])))
        return NULL;
    return charge(sched, args[1]);
}

static PyObject *lock_spinlock(PyObject *lock, PyObject *unused)
{
    PyObject *line = *slot(lock, spin_at[SPIN_LINE]), *sched = *slot(lock, spin_at[SPIN_SCHED]), *queue;
    long long clock;

    (void)unused;
    if (line == Py_None)
        Py_RETURN_NONE;
    if (drop(claim_line(sched, line)))
        return NULL;
    clock = get_moment(sched, sched_at[CLOCK]);
    if (*slot(lock, spin_at[SPIN_QUEUE]) != Py_None
        || (get_moment(lock, spin_at[SPIN_BEGUN_AT]) <= clock && clock < get_moment(lock, spin_at[SPIN_FREE_AT])))
        return PyObject_CallMethodNoArgs(lock, name_slowpath);
    queue = PyList_New(0);
    if (set(lock, spin_at[SPIN_QUEUE], queue)
        || set(lock, spin_at[SPIN_OWNER], Py_NewRef(*slot(sched, sched_at[CURRENT])))
        || put(lock, spin_at[SPIN_BEGUN_AT], is_past_horizon(sched) ? clock : 0))
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *unlock_spinlock(PyObject *lock, PyObject *unused)
{
    PyObject *queue = *slot(lock, spin_at[SPIN_QUEUE]), *sched = *slot(lock, spin_at[SPIN_SCHED]);

    (void)unused;
    if (*slot(lock, spin_at[SPIN_LINE]) == Py_None)
        Py_RETURN_NONE;
    if (!PyList_CheckExact(queue) || PyList_GET_SIZE(queue))
        return PyObject_CallOneArg(unlock_in_python, lock);
    if (put(lock, spin_at[SPIN_FREE_AT], get_moment(sched, sched_at[CLOCK]))
        || set(lock, spin_at[SPIN_QUEUE], Py_NewRef(Py_None)))
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *enter_vma_lock(PyObject *lock, PyObject *unused)
{
    PyObject *line = *slot(lock, vma_lock_at[VMA_LOCK_LINE]), *sched = *slot(lock, vma_lock_at[VMA_LOCK_SCHED]);

    (void)unused;
    if (!is_line(line) || drop(exchange_line(line, sched))
        || PyDict_SetItem(*slot(lock, vma_lock_at[VMA_LOCK_READERS]), *slot(sched, sched_at[CURRENT]), Py_None))
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *leave_vma_lock(PyObject *lock, PyObject *unused)
{
    PyObject *line = *slot(lock, vma_lock_at[VMA_LOCK_LINE]), *sched = *slot(lock, vma_lock_at[VMA_LOCK_SCHED]);

    (void)unused;
    if (drop(sched_write_line(sched, line))
        || PyDict_DelItem(*slot(lock, vma_lock_at[VMA_LOCK_READERS]), *slot(sched, sched_at[CURRENT])))
        return NULL;
    Py_RETURN_NONE;
}

/* PteLocks.lock: the lock of the table that a slot is in. */
static PyObject *lock_table(PyObject *locks, PyObject *slot_number)
{
    const long long number = as_number(slot_number);
    PyObject *key = PyLong_FromLongLong(number >> get(locks, pte_locks_at[PTE_LOCKS_LEAF_BITS])), *lock;

    if (key == NULL)
        return NULL;
    lock = PyDict_GetItemWithError(locks, key);
    Py_DECREF(key);
    if (lock == NULL || !Py_IS_TYPE(lock, spinlock_type))
        return PyErr_Occurred() ? NULL : PyObject_CallFunctionObjArgs(lock_in_python, locks, slot_number, NULL);
    Py_INCREF(lock);
    if (drop(lock_spinlock(lock, NULL)))
        Py_CLEAR(lock);
    return lock;
}

static PyMethodDef line_methods[] = {
    {"exchange", exchange_line, METH_O, "CacheLine.exchange"},
    {"write", write_line, METH_O, "CacheLine.write"},
    {NULL, NULL, 0, NULL},
};
static PyMethodDef sched_methods[] = {
    {"_next_turn", next_turn, METH_NOARGS, "Sched._next_turn"},
    {"sync_for", (PyCFunction)(void (*)(void))sync_for, METH_FASTCALL, "Sched.sync_for"},
    {"write_line", sched_write_line, METH_O, "Sched.write_line"},
    {"claim_line", claim_line, METH_O, "Sched.claim_line"},
    {"read_line", read_line, METH_O, "Sched.read_line"},
    {"charge", charge, METH_O, "Sched.charge"},
    {"enter_guest", enter_guest, METH_O, "Sched.enter_guest"},
    {"leave_guest", leave_guest, METH_NOARGS, "Sched.leave_guest"},
    {"user_deadline", user_deadline, METH_NOARGS, "Sched.user_deadline"},
    {"charge_for", (PyCFunction)(void (*)(void))charge_for, METH_FASTCALL, "Sched.charge_for"},
    {"read_and_charge", (PyCFunction)(void (*)(void))read_and_charge, METH_FASTCALL, "Sched.read_and_charge"},
    {NULL, NULL, 0, NULL},
};
static PyMethodDef spinlock_methods[] = {
    {"lock", lock_spinlock, METH_NOARGS, "spinlock.lock"},
    {"unlock", unlock_spinlock, METH_NOARGS, "spinlock.unlock"},
    {NULL, NULL, 0, NULL},
};
static PyMethodDef vma_lock_methods[] = {
    {"enter", enter_vma_lock, METH_NOARGS, "vma_lock.enter"},
    {"leave", leave_vma_lock, METH_NOARGS, "vma_lock.leave"},
    {NULL, NULL, 0, NULL},
};
static PyMethodDef pte_locks_methods[] = {
    {"lock", lock_table, METH_O, "PteLocks.lock"},
    {NULL, NULL, 0, NULL},
};

/* Where a class has its slots: 0, or -1 with an exception where it has not all of them. */
static int find(PyObject *type, const char *const *names, Py_ssize_t *at, int count)
{
    PyObject *member;
    int i;

    for (i = 0; i < count; i++) {
        member = PyObject_GetAttrString(type, names[i]);
        if (member == NULL)
            return -1;
        if (!Py_IS_TYPE(member, &PyMemberDescr_Type)) {
            PyErr_Format(PyExc_TypeError, "%s is no slot", names[i]);
            return -1;
        }
        at[i] = ((PyMemberDescrObject *)member)->d_member->offset;
        Py_DECREF(member);
    }
    return 0;
}

static struct adopted classes[] = {
    {"Sched", sched_names, sched_at, SCHED_SLOTS, &sched_type, sched_methods},
    {"spinlock", spin_names, spin_at, SPIN_SLOTS, NULL, spinlock_methods},
    {"vma_lock", vma_lock_names, vma_lock_at, VMA_LOCK_SLOTS, NULL, vma_lock_methods},
    {"PteLocks", pte_locks_names, pte_locks_at, PTE_LOCKS_SLOTS, NULL, pte_locks_methods},
    {"CacheLine", line_names, line_at, LINE_SLOTS, NULL, NULL},
    {"Rq", rq_names, rq_at, RQ_SLOTS, &rq_type, NULL},
    {"SchedEntity", task_names, task_at, TASK_SLOTS, &task_type, NULL},
    {NULL, NULL, NULL, 0, NULL, NULL},
};
static struct passed_on passed_on[] = {
    {&write_in_python, "CacheLine", "write"},
    {&exchange_in_python, "CacheLine", "exchange"},
    {&charge_in_python, "Sched", "charge"},
    {&turn_in_python, "Sched", "_next_turn"},
    {&read_in_python, "Sched", "read_line"},
    {&enter_in_python, "Sched", "enter_guest"},
    {&leave_in_python, "Sched", "leave_guest"},
    {&deadline_in_python, "Sched", "user_deadline"},
    {&unlock_in_python, "spinlock", "unlock"},
    {&lock_in_python, "PteLocks", "lock"},
    {NULL, NULL, NULL},
};

static int add_methods(PyObject *type, PyMethodDef *method)
{
    PyObject *descriptor;

    for (; method->ml_name != NULL; method++) {
        descriptor = PyDescr_NewMethod((PyTypeObject *)type, method);
        if (descriptor == NULL || PyObject_SetAttrString(type, method->ml_name, descriptor))
            return -1;
        Py_DECREF(descriptor);
    }
    return 0;
}

/* The class of this machine's cache lines, which derives from the one in Python. */
static PyObject *new_line_type(PyTypeObject *base)
{
    static PyMemberDef members[] = {
        {"owner", T_LONGLONG, offsetof(struct line, owner), 0, NULL},
        {"free_at", T_LONGLONG, offsetof(struct line, free_at), 0, NULL},
        {"settled", T_LONGLONG, offsetof(struct line, settled), 0, NULL},
        {"wait", T_LONGLONG, offsetof(struct line, wait), 0, NULL},
        {"transfers", T_LONGLONG, offsetof(struct line, transfers), 0, NULL},
        {NULL, 0, 0, 0, NULL},
    };
    PyType_Slot slots[] = {{Py_tp_members, members}, {Py_tp_methods, line_methods}, {0, NULL}};
    PyType_Spec spec = {"emu.sched._native.CacheLine", 0, 0, Py_TPFLAGS_DEFAULT, slots};
    PyMemberDef *member;

    line_offset = base->tp_basicsize;
    for (member = members; member->name != NULL; member++)
        member->offset += line_offset;
    spec.basicsize = (int)(line_offset + (Py_ssize_t)sizeof(struct line));
    return PyType_FromSpecWithBases(&spec, (PyObject *)base);
}

/* Find the slots of classes, and the methods in Python that those in C leave something to: 0, or -1. */
static int adopt_classes(const struct adopted *class, const struct passed_on *method, PyObject *bases)
{
    PyObject *found;

    for (; class->name != NULL; class++) {
        found = PyDict_GetItemString(bases, class->name);
        if (found == NULL) {
            PyErr_Format(PyExc_TypeError, "there is no class %s", class->name);
            return -1;
        }
        if (find(found, class->names, class->at, class->slots))
            return -1;
        if (class->type != NULL)
            Py_XSETREF(*class->type, (PyTypeObject *)Py_NewRef(found));
    }
    for (; method->method != NULL; method++) {
        Py_XSETREF(*method->method, PyObject_GetAttrString(PyDict_GetItemString(bases, method->class), method->name));
        if (*method->method == NULL)
            return -1;
    }
    return 0;
}

/* Give the classes that are derived from them their methods in C: 0, or -1. */
static int give_methods(const struct adopted *class, PyObject *derived)
{
    PyObject *found;

    for (; class->name != NULL; class++) {
        found = class->methods == NULL ? NULL : PyDict_GetItemString(derived, class->name);
        if (found != NULL && add_methods(found, class->methods))
            return -1;
    }
    return 0;
}

/* adopt(bases, derived, SETTLE, RUN_AHEAD, LOOKAHEAD, WINDOW, where an engine's `retired` is): `bases` are the classes
 * above and those of the other files, by name; give those in `derived`, which derive from them and have no slots of
 * their own, methods in C. Returns the class of cache lines. */
static PyObject *adopt(PyObject *module, PyObject *args)
{
    static const struct adopted *const groups[] = {classes, batches_classes, event_classes, mm_classes};
    static const struct passed_on *const methods[] = {passed_on, batches_passed_on, event_passed_on, mm_passed_on};
    PyObject *bases, *derived, *found;
    size_t i;

    (void)module;
    if (!PyArg_ParseTuple(args, "O!O!LLLLL", &PyDict_Type, &bases, &PyDict_Type, &derived, &settle, &run_ahead,
                          &lookahead, &window_ns, &retired_at))
        return NULL;
    for (i = 0; i < sizeof groups / sizeof *groups; i++) {
        if (adopt_classes(groups[i], methods[i], bases))
            return NULL;
    }
    name_slowly = PyUnicode_InternFromString("_step_back_slowly");
    name_slowpath = PyUnicode_InternFromString("_lock_slowpath");
    greenlet_api = PyCapsule_Import("greenlet._C_API", 0);
    if (name_slowly == NULL || name_slowpath == NULL || greenlet_api == NULL || mmscope_keep_stacks())
        return NULL;
    for (i = 0; i < sizeof groups / sizeof *groups; i++) {
        if (give_methods(groups[i], derived))
            return NULL;
    }
    found = PyDict_GetItemString(derived, "spinlock");
    if (found == NULL) {
        PyErr_SetString(PyExc_TypeError, "there is no class that derives from spinlock");
        return NULL;
    }
    spinlock_type = (PyTypeObject *)Py_NewRef(found);
    if (line_type == NULL)
        line_type = (PyTypeObject *)new_line_type((PyTypeObject *)PyDict_GetItemString(bases, "CacheLine"));
    return Py_XNewRef((PyObject *)line_type);
}

static PyMethodDef methods[] = {
    {"adopt", adopt, METH_VARARGS, "Give classes of the scheduler methods in C."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_native", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__native(void)
{
    PyObject *module = PyModule_Create(&definition);

    if (module != NULL && PyModule_AddType(module, &turns_type))
        Py_CLEAR(module);
    return module;
}
