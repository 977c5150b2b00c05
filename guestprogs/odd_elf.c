// SPDX-License-Identifier: GPL-2.0-or-later
// Programs with headers that make no sense: what is refused before the old program is given up, and what ends the new one.
#define _GNU_SOURCE
#include "guest.h"
#include <link.h>
#include <sys/wait.h>

static char image[1 << 18];
static long size;

static ElfW(Phdr) *text(void)
{
    ElfW(Ehdr) *head = (void *)image;
    ElfW(Phdr) *found = NULL;
    for (int i = 0; i < head->e_phnum; i++) {
        ElfW(Phdr) *one = (void *)(image + head->e_phoff + (size_t)i * head->e_phentsize);
        if (one->p_type == PT_LOAD && !(one->p_flags & PF_X))
            found = one; // the last one without code
    }
    return found;
}

static void change(int how)
{
    ElfW(Ehdr) *head = (void *)image;
    ElfW(Phdr) *one = text();
    const ElfW(Addr) half = (ElfW(Addr))1 << (sizeof(long) * 8 - 1);
    switch (how) {
    case 1: one->p_vaddr += half; break;
    case 2: one->p_memsz = half; break;
    case 3: one->p_memsz = 0; break;
    case 4: head->e_entry = 0x10; break;
    case 5: one->p_align = 3; break;
    case 6: one->p_offset += 8; break;
    case 7: head->e_phentsize++; break;
    case 8: head->e_machine = 0x1234; break;
    case 9: head->e_phoff = (ElfW(Addr))size; break;
    case 10: head->e_type = ET_REL; break;
    case 11: one->p_type = PT_NULL; break;
    }
}

int main(int argc, char **argv)
{
    start();
    if (argc > 1)
        return 5;
    int self = open(argv[0], O_RDONLY);
    size = read(self, image, sizeof image);
    if (size <= 0 || size == sizeof image)
        return 1;
    for (int how = 0; how < 12; how++) {
        pid_t pid = fork();
        if (!pid) {
            char *args[] = {argv[0], "again", NULL}, *none[] = {NULL};
            int file = (int)syscall(SYS_memfd_create, "odd", 0);
            change(how);
            if (write(file, image, (size_t)size) != size)
                _exit(9);
            syscall(SYS_execveat, file, "", args, none, 0x1000); // AT_EMPTY_PATH
            _exit(100 + errno);
        }
        int status;
        waitpid(pid, &status, 0);
        if (WIFEXITED(status))
            printf("%d: exit %d\n", how, WEXITSTATUS(status));
        else
            printf("%d: signal %d\n", how, WTERMSIG(status));
    }
    return 0;
}
