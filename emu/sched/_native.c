/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CPUs beside each other, in C: what emu/sched/cacheline.py says of a cache line that goes from one to another, and
 * what Sched._next_turn says of whose turn it is.
 *
 * All objects stay objects of Python; their slots are read and written here. Only what comes twice in every fault where
 * many CPUs fault is done, all else is left to the method in Python. Both give the same numbers; a test compares them.
 *
 * Figures: a fault with 64 CPUs executes 2,640 bytecodes of Python without this, and 2,090 with it.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

enum { OWNER, COPIES, FREE_AT, ARRIVES, SETTLED, WAIT, TRANSFERS, LINE_SLOTS };
enum { BUSY, CLOCK, CURRENT, END, HORIZON, NOISE, RQ, RQS, TIMER_DUE, TP, TRANSFER, TRANSFER_HOLD, SCHED_SLOTS };
enum { RQ_CLOCK, RQ_CURR, RQ_ID, RQ_SLOTS };
enum { TP_CPU, TP_CURRENT, TP_PID, TP_TID, TP_SLOTS };
enum { TASK_GREENLET, TASK_PID, TASK_TGID, TASK_WAITS, TASK_SLOTS };

static const char *const line_names[] = {"owner", "copies", "free_at", "arrives", "settled", "wait", "transfers"};
static const char *const sched_names[] = {
    "_busy", "clock", "current", "end", "horizon", "_noise", "rq", "rqs", "_timer_due", "tp", "transfer",
    "transfer_hold",
};
static const char *const rq_names[] = {"clock", "curr", "id"};
static const char *const tp_names[] = {"cpu", "current", "pid", "tid"};
static const char *const task_names[] = {"greenlet", "pid", "tgid", "waits"};
static Py_ssize_t line_at[LINE_SLOTS], sched_at[SCHED_SLOTS], rq_at[RQ_SLOTS], tp_at[TP_SLOTS],
    task_at[TASK_SLOTS];
static PyTypeObject *line_type, *sched_type, *rq_type, *tp_type, *task_type, *last_line, *last_sched, *last_task;
static PyObject *write_in_python, *cmpxchg_in_python, *turn_in_python;
static PyObject *name_slowly, *switch_to;
static long long settle, run_ahead, lookahead;

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

static PyObject **slot(PyObject *object, Py_ssize_t at)
{
    return (PyObject **)((char *)object + at);
}

/* PyLong_AsLongLong, which is a call for each of some fifty numbers a fault. */
static inline long long as_number(PyObject *number)
{
#if PY_VERSION_HEX < 0x030c0000 && PYLONG_BITS_IN_DIGIT == 30
    const digit *digits = ((PyLongObject *)number)->ob_digit;

    switch (Py_SIZE(number)) {
    case 0:
        return 0;
    case 1:
        return digits[0];
    case 2:
        return digits[0] | (long long)digits[1] << PyLong_SHIFT;
    case 3:
        if (digits[2] < 8)
            return digits[0] | (long long)digits[1] << PyLong_SHIFT | (long long)digits[2] << 2 * PyLong_SHIFT;
    }
#endif
    return PyLong_AsLongLong(number);
}

static long long get(PyObject *object, Py_ssize_t at)
{
    return as_number(*slot(object, at));
}

/* A moment in ns, which may be so late that it does not fit. */
static long long get_moment(PyObject *object, Py_ssize_t at)
{
    PyObject *number = *slot(object, at);
    long long moment = as_number(number);

    if (moment == -1 && PyErr_Occurred()) {
        PyErr_Clear();
        return LLONG_MAX;
    }
    return moment;
}

/* -1: there is no memory for the number. */
static int put(PyObject *object, Py_ssize_t at, long long value)
{
    PyObject *number = PyLong_FromLongLong(value);
    if (number == NULL)
        return -1;
    Py_SETREF(*slot(object, at), number);
    return 0;
}

/* One access that the running CPU makes to a line. */
struct access {
    long long cpu, owner, clock, free_at, journey, held;
};

/* False: this is a case for Python. The numbers are as small as times and CPUs are. */
static int look(PyObject *line, PyObject *sched, struct access *to)
{
    PyObject *copies, *rows, *row;

    if (!is_a(sched, sched_type, &last_sched))
        return 0;
    copies = *slot(line, line_at[COPIES]);
    to->cpu = get(*slot(sched, sched_at[RQ]), rq_at[RQ_ID]);
    to->owner = get(line, line_at[OWNER]);
    to->clock = get(sched, sched_at[CLOCK]);
    to->free_at = get(line, line_at[FREE_AT]);
    if (!PyLong_Check(copies) || Py_SIZE(copies) != 0 || to->owner < 0)
        return 0;
    if (to->owner == to->cpu)
        return get(line, line_at[ARRIVES]) <= to->clock;
    rows = *slot(sched, sched_at[TRANSFER]);
    if (!PyList_Check(rows) || to->owner >= PyList_GET_SIZE(rows))
        return 0;
    row = PyList_GET_ITEM(rows, to->owner);
    if (!PyList_Check(row) || to->cpu >= PyList_GET_SIZE(row))
        return 0;
    to->journey = as_number(PyList_GET_ITEM(row, to->cpu));
    to->held = to->journey * get(sched, sched_at[TRANSFER_HOLD]) / 100;
    return 1;
}

static long long max(long long a, long long b)
{
    return a > b ? a : b;
}

/* The line makes `transfers` journeys to the running CPU, one behind the other; where it is there already, none. */
static PyObject *use_line(PyObject *line, PyObject *sched, int transfers, PyObject *in_python)
{
    struct access to;
    long long begin, arrived;
    int i;

    if (!look(line, sched, &to))
        return PyObject_CallFunctionObjArgs(in_python, line, sched, NULL);
    if (to.owner == to.cpu) {
        if (to.clock > to.free_at && put(line, line_at[FREE_AT], to.clock))
            return NULL;
        Py_RETURN_NONE;
    }
    arrived = to.clock;
    for (i = 0; i < transfers; i++) {
        begin = max(arrived, to.free_at);
        to.free_at = begin + to.held;
        arrived = begin + to.journey;
    }
    if (put(line, line_at[OWNER], to.cpu) || put(line, line_at[FREE_AT], to.free_at) || put(line, line_at[ARRIVES], 0)
        || put(line, line_at[WAIT], get(line, line_at[WAIT]) + arrived - to.clock)
        || put(line, line_at[TRANSFERS], get(line, line_at[TRANSFERS]) + transfers)
        || put(line, line_at[SETTLED], arrived + settle) || put(sched, sched_at[CLOCK], arrived))
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *write_line(PyObject *line, PyObject *sched)
{
    return use_line(line, sched, 1, write_in_python);
}

/* A copy first, then the line. */
static PyObject *cmpxchg_line(PyObject *line, PyObject *sched)
{
    return use_line(line, sched, 2, cmpxchg_in_python);
}

/* What the heap of the CPUs that wait is ordered by: (clock, number). */
struct place { long long clock, number; };

static inline struct place place_of(PyObject *entry)
{
    struct place place = {as_number(PyTuple_GET_ITEM(entry, 0)), as_number(PyTuple_GET_ITEM(entry, 1))};

    return place;
}

static inline int before(struct place a, struct place b)
{
    return a.clock < b.clock || (a.clock == b.clock && a.number < b.number);
}

/* heapq.heappushpop of a heap that is not empty; takes over the reference to `entry`, and gives one away. */
static PyObject *push_pop(PyObject *heap, PyObject *entry)
{
    PyObject **items = ((PyListObject *)heap)->ob_item, *first = items[0];
    const struct place mine = place_of(entry);
    Py_ssize_t size = PyList_GET_SIZE(heap), hole = 0, child;

    if (!before(place_of(first), mine))
        return entry;
    while ((child = 2 * hole + 1) < size) {
        struct place least = place_of(items[child]);
        if (child + 1 < size) {
            const struct place other = place_of(items[child + 1]);
            if (before(other, least)) {
                least = other;
                child++;
            }
        }
        if (!before(least, mine))
            break;
        items[hole] = items[child];
        hole = child;
    }
    items[hole] = entry;
    return first;
}

static int set(PyObject *object, Py_ssize_t at, PyObject *value)
{
    if (value == NULL)
        return -1;
    Py_SETREF(*slot(object, at), value);
    return 0;
}

static PyObject *next_turn(PyObject *sched, PyObject *unused)
{
    PyObject *busy = *slot(sched, sched_at[BUSY]), *rqs = *slot(sched, sched_at[RQS]);
    PyObject *rq = *slot(sched, sched_at[RQ]), *tp = *slot(sched, sched_at[TP]), *clock, *entry, *task;
    long long due, first;

    (void)unused;
    if (!PyList_Check(busy) || !PyList_Check(rqs) || !Py_IS_TYPE(rq, rq_type) || !Py_IS_TYPE(tp, tp_type)
        || PyObject_IsTrue(*slot(sched, sched_at[NOISE])))
        return PyObject_CallOneArg(turn_in_python, sched);
    clock = *slot(sched, sched_at[CLOCK]);
    if (set(rq, rq_at[RQ_CLOCK], Py_NewRef(clock)))
        return NULL;
    if (PyList_GET_SIZE(busy) == 0)
        Py_RETURN_NONE;
    due = get_moment(sched, sched_at[TIMER_DUE]);
    first = as_number(PyTuple_GET_ITEM(PyList_GET_ITEM(busy, 0), 0));
    if (first >= due || first >= get_moment(sched, sched_at[END]))
        Py_RETURN_NONE;
    entry = PyTuple_Pack(2, clock, *slot(rq, rq_at[RQ_ID]));
    if (entry == NULL)
        return NULL;
    entry = push_pop(busy, entry);
    rq = PyList_GetItem(rqs, as_number(PyTuple_GET_ITEM(entry, 1)));
    if (rq == NULL || set(sched, sched_at[CLOCK], Py_NewRef(PyTuple_GET_ITEM(entry, 0))))
        return NULL;
    Py_DECREF(entry);
    task = *slot(rq, rq_at[RQ_CURR]);
    if (!is_a(task, task_type, &last_task)) {
        PyErr_SetString(PyExc_TypeError, "a CPU waits for its turn that runs no task");
        return NULL;
    }
    first = as_number(PyTuple_GET_ITEM(PyList_GET_ITEM(busy, 0), 0));
    if (set(sched, sched_at[RQ], Py_NewRef(rq)) || set(sched, sched_at[CURRENT], Py_NewRef(task))
        || put(sched, sched_at[HORIZON], first < due ? first : due)
        || set(tp, tp_at[TP_CPU], Py_NewRef(*slot(rq, rq_at[RQ_ID])))
        || set(tp, tp_at[TP_PID], Py_NewRef(*slot(task, task_at[TASK_TGID])))
        || set(tp, tp_at[TP_TID], Py_NewRef(*slot(task, task_at[TASK_PID])))
        || set(tp, tp_at[TP_CURRENT], Py_NewRef(*slot(task, task_at[TASK_WAITS]))))
        return NULL;
    return Py_NewRef(task);
}

/* The thread that runs steps back: another one goes on from where it did so, until it is the turn of this one again. */
static PyObject *step_back(PyObject *sched)
{
    PyObject *me = *slot(sched, sched_at[CURRENT]), *task = next_turn(sched, NULL), *greenlet, *result = NULL;
    int started;

    if (task == me || task == NULL) {
        Py_XDECREF(task);
        return task == NULL ? NULL : Py_NewRef(Py_None);
    }
    greenlet = Py_NewRef(task == Py_None ? Py_None : *slot(task, task_at[TASK_GREENLET]));
    if ((started = PyObject_IsTrue(greenlet)) >= 0)
        result = started ? PyObject_CallOneArg(switch_to, greenlet)
                         : PyObject_CallMethodOneArg(sched, name_slowly, task);
    Py_DECREF(greenlet);
    Py_DECREF(task);
    return result;
}

static int is_line(PyObject *line)
{
    if (is_a(line, line_type, &last_line))
        return 1;
    PyErr_SetString(PyExc_TypeError, "not a cache line of this machine");
    return 0;
}

/* Has the running CPU the line, and nobody a copy. */
static int is_own(PyObject *sched, PyObject *line)
{
    PyObject *copies = *slot(line, line_at[COPIES]);

    return get(line, line_at[OWNER]) == get(*slot(sched, sched_at[RQ]), rq_at[RQ_ID]) && PyLong_Check(copies)
           && Py_SIZE(copies) == 0;
}

/* Let others go first, unless the line has been the CPU's own for a while and it is not too far ahead: 0 or -1. */
static int sync_to(PyObject *sched, PyObject *line, long long ahead)
{
    long long clock = get(sched, sched_at[CLOCK]);
    PyObject *done;

    if (is_own(sched, line) && get(line, line_at[SETTLED]) <= clock
        && clock - ahead <= get_moment(sched, sched_at[HORIZON]))
        return 0;
    done = step_back(sched);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
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

static PyObject *sched_write_line(PyObject *sched, PyObject *line)
{
    if (!is_line(line) || (is_past_horizon(sched) && sync_to(sched, line, run_ahead)))
        return NULL;
    return write_line(line, sched);
}

static PyObject *claim_line(PyObject *sched, PyObject *line)
{
    if (!is_line(line) || (is_past_horizon(sched) && sync_to(sched, line, lookahead)))
        return NULL;
    if (is_own(sched, line))
        Py_RETURN_NONE;
    return write_line(line, sched);
}

static PyMethodDef line_methods[] = {
    {"write", write_line, METH_O, "CacheLine.write"},
    {"cmpxchg", cmpxchg_line, METH_O, "CacheLine.cmpxchg"},
};
static PyMethodDef sched_methods[] = {
    {"_next_turn", next_turn, METH_NOARGS, "Sched._next_turn"},
    {"sync_for", (PyCFunction)(void (*)(void))sync_for, METH_FASTCALL, "Sched.sync_for"},
    {"write_line", sched_write_line, METH_O, "Sched.write_line"},
    {"claim_line", claim_line, METH_O, "Sched.claim_line"},
};
enum { LINE_METHODS = sizeof line_methods / sizeof *line_methods };
enum { SCHED_METHODS = sizeof sched_methods / sizeof *sched_methods };

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

static int add_methods(PyObject *type, PyMethodDef *methods, int count)
{
    PyObject *descriptor;
    int i;

    for (i = 0; i < count; i++) {
        descriptor = PyDescr_NewMethod((PyTypeObject *)type, &methods[i]);
        if (descriptor == NULL || PyObject_SetAttrString(type, methods[i].ml_name, descriptor))
            return -1;
        Py_DECREF(descriptor);
    }
    return 0;
}

/* adopt(line, sched, (CacheLine, Sched, Rq, Tracepoints, SchedEntity), greenlet.switch, SETTLE, RUN_AHEAD, LOOKAHEAD):
 * give the first two, which derive from the classes that follow and have no slots of their own, methods in C. */
static PyObject *adopt(PyObject *module, PyObject *args)
{
    PyObject *line, *sched, *base_line, *base_sched, *rq, *tp, *task;

    (void)module;
    if (!PyArg_ParseTuple(args, "O!O!(O!O!O!O!O!)OLLL", &PyType_Type, &line, &PyType_Type, &sched, &PyType_Type, &base_line,
                          &PyType_Type, &base_sched, &PyType_Type, &rq, &PyType_Type, &tp, &PyType_Type, &task,
                          &switch_to, &settle, &run_ahead, &lookahead))
        return NULL;
    if (find(base_line, line_names, line_at, LINE_SLOTS) || find(base_sched, sched_names, sched_at, SCHED_SLOTS)
        || find(rq, rq_names, rq_at, RQ_SLOTS) || find(tp, tp_names, tp_at, TP_SLOTS)
        || find(task, task_names, task_at, TASK_SLOTS))
        return NULL;
    line_type = (PyTypeObject *)Py_NewRef(base_line);
    sched_type = (PyTypeObject *)Py_NewRef(base_sched);
    rq_type = (PyTypeObject *)Py_NewRef(rq);
    tp_type = (PyTypeObject *)Py_NewRef(tp);
    task_type = (PyTypeObject *)Py_NewRef(task);
    write_in_python = PyObject_GetAttrString(base_line, "write");
    cmpxchg_in_python = PyObject_GetAttrString(base_line, "cmpxchg");
    turn_in_python = PyObject_GetAttrString(base_sched, "_next_turn");
    name_slowly = PyUnicode_InternFromString("_step_back_slowly");
    Py_INCREF(switch_to);
    if (write_in_python == NULL || cmpxchg_in_python == NULL || turn_in_python == NULL || name_slowly == NULL
        || add_methods(line, line_methods, LINE_METHODS) || add_methods(sched, sched_methods, SCHED_METHODS))
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"adopt", adopt, METH_VARARGS, "Give classes of the scheduler methods in C."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_native", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModule_Create(&definition);
}
