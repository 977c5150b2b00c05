// SPDX-License-Identifier: GPL-2.0-or-later
// Benchmark: as page_fault1 with shared mappings of a file for each task.
#include "scale.h"

static const char *const name = "page_fault3";
#include "file_faults.h"

static long work(int task)
{
    (void)task;
    return file_faults(MAP_SHARED);
}
