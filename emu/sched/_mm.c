/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What every fault needs of mm beside its locks, in C: a new struct page and struct vm_fault, the VMA at an address,
 * and pages that go. Their twins are methods of the same names in emu/mm.
 *
 * Figures: 150 bytecodes less a fault whose page is unmapped again; a call of `__init__` in Python takes 0.3 us beside
 * them.
 */
#include "_slots.h"

enum {
    PAGE_MAPCOUNT, PAGE_REFCOUNT, PAGE_DIRTY, PAGE_EXCLUSIVE, PAGE_INDEX, PAGE_LAZYFREE, PAGE_MAPPING, PAGE_MLOCKED,
    PAGE_ORDER, PAGE_PFN, PAGE_UPTODATE, PAGE_ZEROED, PAGE_SLOTS,
};
enum {
    FAULT_ADDRESS, FAULT_COW_PAGE, FAULT_FLAGS, FAULT_ORIG_PTE, FAULT_PAGE, FAULT_PGOFF, FAULT_PTL, FAULT_REAL_ADDRESS,
    FAULT_SLOT, FAULT_VMA, FAULT_SLOTS,
};
enum { VMA_PGOFF, VMA_START, VMA_SLOTS };
enum { TREE_ROOT, TREE_SLOTS };
enum { ROOT_ENDS, ROOT_LEAVES, ROOT_SLOTS };
enum { LEAF_ENDS, LEAF_VMAS, LEAF_SLOTS };
enum {
    ALLOCATOR_ALLOCATED, ALLOCATOR_FREED, ALLOCATOR_HIGH, ALLOCATOR_PCP, ALLOCATOR_RAM, ALLOCATOR_SCHED,
    ALLOCATOR_SLOTS,
};
enum { PAGE_SHIFT = 12 };

static const char *const page_names[] = {
    "_mapcount", "_refcount", "dirty", "exclusive", "index", "lazyfree", "mapping", "mlocked", "order", "pfn",
    "uptodate", "zeroed",
};
static const char *const fault_names[] = {
    "address", "cow_page", "flags", "orig_pte", "page", "pgoff", "ptl", "real_address", "slot", "vma",
};
static const char *const vma_names[] = {"vm_pgoff", "vm_start"};
static const char *const tree_names[] = {"_root"};
static const char *const root_names[] = {"ends", "leaves"};
static const char *const leaf_names[] = {"ends", "vmas"};
static const char *const allocator_names[] = {"allocated", "freed", "high", "pcp", "_ram", "sched"};
static Py_ssize_t page_at[PAGE_SLOTS], fault_at[FAULT_SLOTS], vma_at[VMA_SLOTS], tree_at[TREE_SLOTS],
    root_at[ROOT_SLOTS], leaf_at[LEAF_SLOTS], allocator_at[ALLOCATOR_SLOTS];
static PyTypeObject *page_type, *vma_type, *root_type, *leaf_type, *last_page, *last_vma;
static PyObject *new_fault_in_python, *load_in_python, *free_in_python;

/* What a page is neither when it is new nor when it is free. */
static void clear_flags(PyObject *page)
{
    static const int flags[] = {PAGE_EXCLUSIVE, PAGE_DIRTY, PAGE_UPTODATE, PAGE_MLOCKED, PAGE_LAZYFREE};
    size_t i;

    for (i = 0; i < sizeof flags / sizeof *flags; i++)
        set(page, page_at[flags[i]], Py_NewRef(Py_False));
    set(page, page_at[PAGE_MAPPING], Py_NewRef(Py_None));
}

/* page(pfn) */
static PyObject *new_page(PyObject *page, PyObject *pfn)
{
    static const int zero[] = {PAGE_REFCOUNT, PAGE_MAPCOUNT, PAGE_INDEX, PAGE_ORDER};
    size_t i;

    for (i = 0; i < sizeof zero / sizeof *zero; i++) {
        if (set(page, page_at[zero[i]], PyLong_FromLong(0)))
            return NULL;
    }
    clear_flags(page);
    set(page, page_at[PAGE_ZEROED], Py_NewRef(Py_True));
    set(page, page_at[PAGE_PFN], Py_NewRef(pfn));
    Py_RETURN_NONE;
}

/* vm_fault(vma, address, flags) */
static PyObject *new_fault(PyObject *fault, PyObject *const *args, Py_ssize_t count)
{
    long long real, address;

    if (count != 3) {
        PyErr_SetString(PyExc_TypeError, "vm_fault takes a VMA, an address and flags");
        return NULL;
    }
    real = PyLong_Check(args[1]) ? as_number(args[1]) : -1;
    if (real < 0 || !is_a(args[0], vma_type, &last_vma)) {
        PyErr_Clear();
        return PyObject_CallFunctionObjArgs(new_fault_in_python, fault, args[0], args[1], args[2], NULL);
    }
    address = real >> PAGE_SHIFT << PAGE_SHIFT;
    set(fault, fault_at[FAULT_VMA], Py_NewRef(args[0]));
    set(fault, fault_at[FAULT_REAL_ADDRESS], Py_NewRef(args[1]));
    set(fault, fault_at[FAULT_FLAGS], Py_NewRef(args[2]));
    set(fault, fault_at[FAULT_PAGE], Py_NewRef(Py_None));
    set(fault, fault_at[FAULT_COW_PAGE], Py_NewRef(Py_None));
    set(fault, fault_at[FAULT_PTL], Py_NewRef(Py_None));
    if (set(fault, fault_at[FAULT_ADDRESS], PyLong_FromLongLong(address))
        || set(fault, fault_at[FAULT_PGOFF],
               PyLong_FromLongLong(((address - get(args[0], vma_at[VMA_START])) >> PAGE_SHIFT)
                                   + get(args[0], vma_at[VMA_PGOFF])))
        || set(fault, fault_at[FAULT_SLOT], PyLong_FromLong(-1))
        || set(fault, fault_at[FAULT_ORIG_PTE], PyLong_FromLong(0)))
        return NULL;
    Py_RETURN_NONE;
}

/* What `list` has behind all that ends at or before the address; NULL: nothing, or a case for Python. */
static PyObject *behind(PyObject *ends, PyObject *list, long long address)
{
    const Py_ssize_t at = PyList_CheckExact(ends) && PyList_CheckExact(list) ? bisect_right(ends, address) : -1;

    return at >= 0 && at < PyList_GET_SIZE(list) ? PyList_GET_ITEM(list, at) : NULL;
}

/* load(address): what is found at once; else the twin in Python looks. */
static PyObject *load(PyObject *tree, PyObject *number)
{
    const long long address = PyLong_Check(number) ? as_number(number) : -1;
    PyObject *root = *slot(tree, tree_at[TREE_ROOT]), *leaf = NULL, *vma = NULL;

    if (address >= 0 && Py_IS_TYPE(root, root_type))
        leaf = behind(*slot(root, root_at[ROOT_ENDS]), *slot(root, root_at[ROOT_LEAVES]), address);
    if (leaf != NULL && Py_IS_TYPE(leaf, leaf_type))
        vma = behind(*slot(leaf, leaf_at[LEAF_ENDS]), *slot(leaf, leaf_at[LEAF_VMAS]), address);
    if (vma != NULL && is_a(vma, vma_type, &last_vma) && get(vma, vma_at[VMA_START]) <= address)
        return Py_NewRef(vma);
    PyErr_Clear();
    return PyObject_CallFunctionObjArgs(load_in_python, tree, number, NULL);
}

/* Are these all pages, and each a single one. */
static int are_single(PyObject *pages)
{
    Py_ssize_t i;

    for (i = 0; i < PySequence_Fast_GET_SIZE(pages); i++) {
        PyObject *page = PySequence_Fast_GET_ITEM(pages, i);
        if (!is_a(page, page_type, &last_page) || get(page, page_at[PAGE_ORDER]))
            return 0;
    }
    return 1;
}

/* One page: 0, or -1. */
static int free_one(PyObject *page, PyObject *ram, const Py_buffer *code_map, PyObject *pcp)
{
    PyObject *pfn = *slot(page, page_at[PAGE_PFN]);
    const long long frame = as_number(pfn);

    if (get(page, page_at[PAGE_REFCOUNT]) || get(page, page_at[PAGE_MAPCOUNT])) {
        char text[64];
        PyOS_snprintf(text, sizeof text, "frame 0x%llx freed while in use", (unsigned long long)frame);
        PyErr_SetString(PyExc_AssertionError, text);
        return -1;
    }
    clear_flags(page);
    set(page, page_at[PAGE_ZEROED], Py_NewRef(Py_False));
    if (frame < 0 || frame >= code_map->len) {
        PyErr_SetString(PyExc_IndexError, "a frame that there is not");
        return -1;
    }
    if (((const char *)code_map->buf)[frame]) {
        PyObject *done = PyObject_CallMethod(ram, "code_written", "O", pfn);
        if (drop(done))
            return -1;
    }
    return PyList_Append(pcp, page);
}

/* The list of the running CPU; NULL: a case for Python. */
static PyObject *own_list(PyObject *allocator)
{
    PyObject *sched = *slot(allocator, allocator_at[ALLOCATOR_SCHED]);
    PyObject *pcp = *slot(allocator, allocator_at[ALLOCATOR_PCP]);
    Py_ssize_t cpu;

    if (!is_a(sched, sched_type, &last_sched) || !PyList_CheckExact(pcp))
        return NULL;
    cpu = (Py_ssize_t)get(*slot(sched, sched_at[RQ]), rq_at[RQ_ID]);
    pcp = cpu < PyList_GET_SIZE(pcp) ? PyList_GET_ITEM(pcp, cpu) : NULL;
    return pcp != NULL && PyList_CheckExact(pcp) ? pcp : NULL;
}

/* free_unref_folios(pages) */
static PyObject *free_unref_folios(PyObject *allocator, PyObject *given)
{
    PyObject *ram = *slot(allocator, allocator_at[ALLOCATOR_RAM]), *pcp = own_list(allocator);
    PyObject *pages = PySequence_Fast(given, "free_unref_folios takes pages"), *code_map, *result = NULL;
    Py_ssize_t i, count;
    int error = 0;

    if (pages == NULL)
        return NULL;
    code_map = PyObject_GetAttrString(ram, "code_map");
    if (code_map == NULL || !PyMemoryView_Check(code_map) || pcp == NULL || !are_single(pages)) {
        PyErr_Clear();
        result = PyObject_CallFunctionObjArgs(free_in_python, allocator, pages, NULL);
        Py_XDECREF(code_map);
        Py_DECREF(pages);
        return result;
    }
    count = PySequence_Fast_GET_SIZE(pages);
    for (i = 0; i < count && !error; i++)
        error = free_one(PySequence_Fast_GET_ITEM(pages, i), ram, PyMemoryView_GET_BUFFER(code_map), pcp);
    if (!error && !add(allocator, allocator_at[ALLOCATOR_ALLOCATED], -count)
        && !add(allocator, allocator_at[ALLOCATOR_FREED], count))
        result = Py_NewRef(Py_None);
    Py_DECREF(code_map);
    Py_DECREF(pages);
    if (result != NULL && PyList_GET_SIZE(pcp) > get(allocator, allocator_at[ALLOCATOR_HIGH])) {
        Py_DECREF(result);
        result = PyObject_CallMethod(allocator, "_free_pcppages_bulk", "O", pcp);
    }
    return result;
}

static PyMethodDef page_methods[] = {
    {"__init__", new_page, METH_O, "page"},
    {NULL, NULL, 0, NULL},
};
static PyMethodDef fault_methods[] = {
    {"__init__", (PyCFunction)(void (*)(void))new_fault, METH_FASTCALL, "vm_fault"},
    {NULL, NULL, 0, NULL},
};
static PyMethodDef tree_methods[] = {
    {"load", load, METH_O, "VmaTree.load"},
    {NULL, NULL, 0, NULL},
};
static PyMethodDef allocator_methods[] = {
    {"free_unref_folios", free_unref_folios, METH_O, "PageAllocator.free_unref_folios"},
    {NULL, NULL, 0, NULL},
};

struct adopted mm_classes[] = {
    {"page", page_names, page_at, PAGE_SLOTS, &page_type, page_methods},
    {"vm_fault", fault_names, fault_at, FAULT_SLOTS, NULL, fault_methods},
    {"vm_area_struct", vma_names, vma_at, VMA_SLOTS, &vma_type, NULL},
    {"VmaTree", tree_names, tree_at, TREE_SLOTS, NULL, tree_methods},
    {"_Root", root_names, root_at, ROOT_SLOTS, &root_type, NULL},
    {"_Leaf", leaf_names, leaf_at, LEAF_SLOTS, &leaf_type, NULL},
    {"PageAllocator", allocator_names, allocator_at, ALLOCATOR_SLOTS, NULL, allocator_methods},
    {NULL, NULL, NULL, 0, NULL, NULL},
};
struct passed_on mm_passed_on[] = {
    {&new_fault_in_python, "vm_fault", "__init__"},
    {&load_in_python, "VmaTree", "load"},
    {&free_in_python, "PageAllocator", "free_unref_folios"},
    {NULL, NULL, NULL},
};
