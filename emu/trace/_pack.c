/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Rows to columns: the twin of Encoder.add in emu/trace/schema.py.
 *
 * Figures: 0.15 us a row here, 1.4 us in Python; a fault under a VMA lock has two.
 */
#include "../_numbers.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the low bytes of a word are taken to be the first ones"
#endif

enum { FIELDS = 32, TEXT = 't', LIST = 'l' };

/* What a column holds: a code of the struct module, or one of those above, the size in bytes of an item, or of the
 * length of a list, and the least and the most that an item is. */
static const struct kind {
    char code;
    Py_ssize_t size;
    int64_t least, most; /* of 'Q', what has 64 bits is more than that */
} kinds[] = {
    {'b', 1, INT8_MIN, INT8_MAX}, {'H', 2, 0, UINT16_MAX},        {'i', 4, INT32_MIN, INT32_MAX},
    {'I', 4, 0, UINT32_MAX},      {'q', 8, INT64_MIN, INT64_MAX}, {'Q', 8, 0, INT64_MAX},
    {TEXT, 4, 0, INT32_MAX},      {LIST, 4, 0, INT32_MAX},        {0, 0, 0, 0},
};

struct field {
    const struct kind *kind;
    char *at;        /* where the next one goes */
    char *values_at; /* where the next item of a list goes */
};

/* An item of a column: 0, or -1 where it does not fit. */
static inline int store(PyObject *item, struct field *field)
{
    uint64_t word;
    const int large = as_word(item, &word);

    if (large < 0 || (large ? field->kind->code != 'Q'
                            : (int64_t)word < field->kind->least || (int64_t)word > field->kind->most))
        return -1;
    memcpy(field->at, &word, (size_t)field->kind->size);
    field->at += field->kind->size;
    return 0;
}

/* The number of a text: of one that comes for the first time `new_text` gives it. */
static int store_text(PyObject *text, struct field *field, PyObject *numbers, PyObject *new_text)
{
    PyObject *number = PyDict_GetItemWithError(numbers, text);
    long value;

    if (number == NULL) {
        if (PyErr_Occurred())
            return -1;
        number = PyObject_CallOneArg(new_text, text);
    } else {
        Py_INCREF(number);
    }
    value = number == NULL ? -1 : PyLong_AsLong(number);
    Py_XDECREF(number);
    if (value < 0 || value > INT32_MAX)
        return -1;
    memcpy(field->at, &(int32_t){(int32_t)value}, sizeof(int32_t));
    field->at += sizeof(int32_t);
    return 0;
}

static int store_list(PyObject *list, struct field *field)
{
    const Py_ssize_t count = list == Py_None ? 0 : PyTuple_GET_SIZE(list);
    Py_ssize_t i;

    memcpy(field->at, &(int32_t){(int32_t)count}, sizeof(int32_t));
    field->at += sizeof(int32_t);
    for (i = 0; i < count; i++) {
        PyObject *item = PyTuple_GET_ITEM(list, i);
        uint64_t word;
        if (as_word(item, &word) < 0) { /* of a longer number the lowest 64 bits */
            if (!PyLong_Check(item))
                return -1;
            word = PyLong_AsUnsignedLongLongMask(item);
        }
        memcpy(field->values_at, &word, sizeof word);
        field->values_at += sizeof word;
    }
    return 0;
}

/* How many items the lists of a column have; -1: they are no lists. */
static Py_ssize_t items_of(PyObject *rows, Py_ssize_t field)
{
    Py_ssize_t row, items = 0;

    for (row = 0; row < PyList_GET_SIZE(rows); row++) {
        PyObject *list = PyTuple_GET_ITEM(PyList_GET_ITEM(rows, row), field);
        if (list != Py_None && !PyTuple_Check(list)) {
            PyErr_SetString(PyExc_TypeError, "a list of a row is no tuple");
            return -1;
        }
        items += list == Py_None ? 0 : PyTuple_GET_SIZE(list);
    }
    return items;
}

/* Bytes at the end of `parts`: where they begin; NULL: there is no memory for them. */
static char *new_part(PyObject *parts, Py_ssize_t size)
{
    PyObject *part = PyBytes_FromStringAndSize(NULL, size);
    const int error = part == NULL || PyList_Append(parts, part);

    Py_XDECREF(part);
    return error ? NULL : PyBytes_AS_STRING(part);
}

/* Make room for the rows: 0, or -1. */
static int make_room(struct field *fields, const char *codes, Py_ssize_t count, PyObject *rows, PyObject *parts)
{
    Py_ssize_t i, items;

    for (i = 0; i < count; i++) {
        for (fields[i].kind = kinds; fields[i].kind->code != codes[i]; fields[i].kind++) {
            if (!fields[i].kind->code) {
                PyErr_SetString(PyExc_TypeError, "a column of an unknown kind");
                return -1;
            }
        }
        fields[i].at = new_part(parts, PyList_GET_SIZE(rows) * fields[i].kind->size);
        items = codes[i] == LIST ? items_of(rows, i) : 0;
        if (codes[i] == LIST && items >= 0)
            fields[i].values_at = new_part(parts, items * (Py_ssize_t)sizeof(uint64_t));
        if (fields[i].at == NULL || items < 0 || (codes[i] == LIST && fields[i].values_at == NULL))
            return -1;
    }
    return 0;
}

/* pack(rows, codes, numbers, new_text): rows, tuples of as many items as `codes` has, as bytes of each column, of a
 * list first the lengths and then the items. OverflowError where an item does not fit. */
static PyObject *pack(PyObject *module, PyObject *args)
{
    struct field fields[FIELDS] = {{NULL}};
    PyObject *rows, *numbers, *new_text, *parts;
    const char *codes;
    Py_ssize_t count, i, row;
    int error;

    (void)module;
    if (!PyArg_ParseTuple(args, "O!s#O!O", &PyList_Type, &rows, &codes, &count, &PyDict_Type, &numbers, &new_text))
        return NULL;
    if (count > FIELDS)
        return PyErr_Format(PyExc_TypeError, "a row has at most %d items", FIELDS);
    for (row = 0; row < PyList_GET_SIZE(rows); row++) {
        PyObject *tuple = PyList_GET_ITEM(rows, row);
        if (!PyTuple_Check(tuple) || PyTuple_GET_SIZE(tuple) != count)
            return PyErr_Format(PyExc_TypeError, "a row has not as many items as there are fields");
    }
    parts = PyList_New(0);
    error = parts == NULL || make_room(fields, codes, count, rows, parts);
    for (row = 0; !error && row < PyList_GET_SIZE(rows); row++) {
        PyObject *const *items = ((PyTupleObject *)PyList_GET_ITEM(rows, row))->ob_item;
        for (i = 0; !error && i < count; i++) {
            if (fields[i].kind->code == TEXT)
                error = store_text(items[i], &fields[i], numbers, new_text);
            else if (fields[i].kind->code == LIST)
                error = store_list(items[i], &fields[i]);
            else
                error = store(items[i], &fields[i]);
        }
    }
    if (!error)
        return parts;
    if (!PyErr_Occurred())
        PyErr_SetString(PyExc_OverflowError, "an item of a row does not fit into its column");
    Py_XDECREF(parts);
    return NULL;
}

static PyMethodDef methods[] = {
    {"pack", pack, METH_VARARGS, "Rows as bytes of each column."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_pack", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__pack(void)
{
    return PyModule_Create(&definition);
}
