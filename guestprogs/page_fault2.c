// SPDX-License-Identifier: GPL-2.0-or-later
// Benchmark: as page_fault1 with private mappings of a file for each task: every touch copies a page of it.
#include "scale.h"

static const char *const name = "page_fault2";
#include "file_faults.h"

static long work(int task)
{
    (void)task;
    return file_faults(MAP_PRIVATE);
}
