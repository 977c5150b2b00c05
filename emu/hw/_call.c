/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Calls of the engine's functions without the cost of ctypes, which is 0.45 us each: three of them a fault where the
 * threads of an address space take turns. The twin is in emu/hw/native.py.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>

/* call(function, a, b[, c[, d]]): the address of a function that takes words and gives an int, and the words. */
static PyObject *call(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    uint64_t word[5];
    Py_ssize_t i;
    int result;

    (void)module;
    if (count < 3 || count > 5) {
        PyErr_SetString(PyExc_TypeError, "call takes a function and two to four words");
        return NULL;
    }
    for (i = 0; i < count; i++) {
        word[i] = PyLong_AsUnsignedLongLong(args[i]);
        if (word[i] == (uint64_t)-1 && PyErr_Occurred())
            return NULL;
    }
    if (count == 3)
        result = ((int (*)(uint64_t, uint64_t))(uintptr_t)word[0])(word[1], word[2]);
    else if (count == 4)
        result = ((int (*)(uint64_t, uint64_t, uint64_t))(uintptr_t)word[0])(word[1], word[2], word[3]);
    else
        result = ((int (*)(uint64_t, uint64_t, uint64_t, uint64_t))(uintptr_t)word[0])(word[1], word[2], word[3],
                                                                                        word[4]);
    return PyLong_FromLong(result);
}

static PyMethodDef methods[] = {
    {"call", (PyCFunction)(void (*)(void))call, METH_FASTCALL, "Call a function at an address."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_call", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__call(void)
{
    return PyModule_Create(&definition);
}
