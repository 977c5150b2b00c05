/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Calls of the engine's functions without the cost of ctypes, which is 0.45 us each: three of them a fault where the
 * threads of an address space take turns. The twin of `call` is in emu/hw/native.py, that of `run` in Engine.
 */
#include "../_numbers.h"
#include "_engine.h"

/* Numbers as words: 0, or -1 with an exception. */
static int get_words(PyObject *const *args, Py_ssize_t count, uint64_t *word)
{
    Py_ssize_t i;

    for (i = 0; i < count; i++) {
        if (as_unsigned(args[i], &word[i])) {
            PyErr_SetString(PyExc_OverflowError, "no word of 64 bits");
            return -1;
        }
    }
    return 0;
}

/* call(function, a, b[, c[, d]]): the address of a function that takes words and gives an int, and the words. */
static PyObject *call(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    uint64_t word[5];
    int result;

    (void)module;
    if (count < 3 || count > 5) {
        PyErr_SetString(PyExc_TypeError, "call takes a function and two to four words");
        return NULL;
    }
    if (get_words(args, count, word))
        return NULL;
    if (count == 3)
        result = ((int (*)(uint64_t, uint64_t))(uintptr_t)word[0])(word[1], word[2]);
    else if (count == 4)
        result = ((int (*)(uint64_t, uint64_t, uint64_t))(uintptr_t)word[0])(word[1], word[2], word[3]);
    else
        result = ((int (*)(uint64_t, uint64_t, uint64_t, uint64_t))(uintptr_t)word[0])(word[1], word[2], word[3],
                                                                                        word[4]);
    return PyLong_FromLong(result);
}

/* run(mmscope_run, an engine, Unicorn's handle, pc, budget): what Engine._told says. To read four fields by ctypes
 * takes 0.3 us. */
static PyObject *run(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    uint64_t word[5];
    const struct engine *engine;
    PyObject *told;
    Py_ssize_t i;
    int how;

    (void)module;
    if (count != 5) {
        PyErr_SetString(PyExc_TypeError, "run takes a function, an engine, its handle, where it begins and a budget");
        return NULL;
    }
    if (get_words(args, count, word))
        return NULL;
    engine = (const struct engine *)(uintptr_t)word[1];
    how = ((int (*)(uint64_t, uint64_t, uint64_t, uint64_t))(uintptr_t)word[0])(word[1], word[2], word[3], word[4]);
    told = PyTuple_New(5);
    if (told == NULL)
        return NULL;
    PyTuple_SET_ITEM(told, 0, PyLong_FromLong(how));
    PyTuple_SET_ITEM(told, 1, PyLong_FromUnsignedLongLong(engine->pc));
    PyTuple_SET_ITEM(told, 2, engine->interposed ? PyLong_FromUnsignedLongLong(engine->address) : Py_NewRef(Py_None));
    PyTuple_SET_ITEM(told, 3, PyLong_FromUnsignedLongLong(engine->syndrome));
    PyTuple_SET_ITEM(told, 4, PyLong_FromLong(engine->access));
    for (i = 0; i < PyTuple_GET_SIZE(told); i++) {
        if (PyTuple_GET_ITEM(told, i) == NULL) {
            Py_DECREF(told);
            return NULL;
        }
    }
    return told;
}

static PyMethodDef methods[] = {
    {"run", (PyCFunction)(void (*)(void))run, METH_FASTCALL, "Run an engine, and tell where and why it stopped."},
    {"call", (PyCFunction)(void (*)(void))call, METH_FASTCALL, "Call a function at an address."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_call", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__call(void)
{
    PyObject *module = PyModule_Create(&definition);

    if (module != NULL && PyModule_AddIntConstant(module, "ENGINE_SIZE", sizeof(struct engine)))
        Py_CLEAR(module);
    return module;
}
