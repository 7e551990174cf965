// SPDX-License-Identifier: MIT OR Apache-2.0
/* A TCG plugin: counts the guest's instructions between two marks, and its system calls.
 *
 * The marks are instructions that no compiler emits: the first program of the initramfs executes BEGIN before it becomes
 * the init that is measured, the first instruction of the new root's init is END. Between them everything is counted,
 * whoever executes it: a kernel thread that this boot keeps busy is part of its cost. What was executed before the first is
 * one more count.
 *
 * Arguments: out=FILE, where the counts go; places=on adds how often each address of a program was executed, places=all also the kernel's;
 * from=start counts from the machine's first instruction on instead of the first mark: what the kernel does before it has an address
 * space of its own then counts as a program's.
 *
 * Debian does not ship QEMU's header: what is used of docs/devel/tcg-plugins and include/qemu/qemu-plugin.h (QEMU 9.1, version 3
 * of the interface) is declared here. glib is what QEMU itself is linked with. */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

EXPORT int qemu_plugin_version = 3;

typedef uint64_t plugin_id;
struct insn;
struct tb;
struct scoreboard;
struct reg;
typedef struct { struct scoreboard *score; size_t offset; } counter;
/* GArray and GByteArray begin alike. */
struct array { char *data; unsigned int len; };
struct description { struct reg *handle; const char *name; const char *feature; };
enum { NO_REGS, R_REGS };
enum { INLINE_ADD_U64 };

void qemu_plugin_register_vcpu_init_cb(plugin_id, void (*)(plugin_id, unsigned));
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct tb *));
void qemu_plugin_register_vcpu_insn_exec_cb(struct insn *, void (*)(unsigned, void *), int flags, void *);
void qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(struct insn *, int op, counter, uint64_t);
size_t qemu_plugin_tb_n_insns(const struct tb *);
struct insn *qemu_plugin_tb_get_insn(const struct tb *, size_t);
size_t qemu_plugin_insn_data(const struct insn *, void *, size_t);
uint64_t qemu_plugin_insn_vaddr(const struct insn *);
struct scoreboard *qemu_plugin_scoreboard_new(size_t);
uint64_t qemu_plugin_u64_sum(counter);
struct array *qemu_plugin_get_registers(void);
int qemu_plugin_read_register(struct reg *, struct array *);
struct array *g_byte_array_new(void);
struct array *g_byte_array_set_size(struct array *, unsigned);

/* mov x27, x27 and mov x28, x28; svc #0 (Arm ARM C6: ORR shifted register, SVC) */
enum { BEGIN = 0xaa1b03fb, END = 0xaa1c03fc, SVC = 0xd4000001 };

static counter user, kernel;
static uint64_t user_base, kernel_base;
static int counting, places;
static struct reg *x8;
static struct array *bytes;
static FILE *out;

/* The system call that the last counts belong to. */
static struct { int number; uint64_t user, kernel; } last = { -1, 0, 0 };

/* Counts of addresses: open addressing, never full (the kernel has fewer instructions). */
enum { PLACES = 1 << 22 };
static struct place { uint64_t address, count; } *table;

static struct place *place(uint64_t address)
{
    for (size_t i = address / 4 % PLACES, tries = 0; tries < PLACES; tries++, i = (i + 1) % PLACES) {
        if (table[i].address == 0)
            table[i].address = address;
        if (table[i].address == address)
            return &table[i];
    }
    return NULL;
}

/* What was spent since the last system call began, with its number; -1 is the time before the first. */
static void close_call(int number)
{
    uint64_t u = qemu_plugin_u64_sum(user), k = qemu_plugin_u64_sum(kernel);
    fprintf(out, "call %d %" PRIu64 " %" PRIu64 "\n", last.number, u - last.user, k - last.kernel);
    last.number = number;
    last.user = u;
    last.kernel = k;
}

static void begins(unsigned vcpu, void *unused)
{
    (void)vcpu, (void)unused;
    if (counting)
        return;
    counting = 1;
    last.user = user_base = qemu_plugin_u64_sum(user);
    last.kernel = kernel_base = qemu_plugin_u64_sum(kernel);
    if (out)
        fprintf(out, "before %" PRIu64 "\n", user_base + kernel_base);
}

static void ends(unsigned vcpu, void *unused)
{
    (void)vcpu, (void)unused;
    if (!out)
        return;
    /* a kernel that mounts the root by itself: all of it was before */
    if (!counting) {
        begins(vcpu, NULL);
        last.number = -1;
    }
    counting = 0;
    close_call(-1);
    for (size_t i = 0; places && i < PLACES; i++)
        if (table[i].count)
            fprintf(out, "place %" PRIx64 " %" PRIu64 "\n", table[i].address, table[i].count);
    fprintf(out, "user %" PRIu64 "\n", qemu_plugin_u64_sum(user) - user_base);
    fprintf(out, "kernel %" PRIu64 "\n", qemu_plugin_u64_sum(kernel) - kernel_base);
    fclose(out);
    out = NULL;
}

static void calls(unsigned vcpu, void *unused)
{
    (void)vcpu, (void)unused;
    if (!counting)
        return;
    int number = -2;
    g_byte_array_set_size(bytes, 0);
    if (x8)
        qemu_plugin_read_register(x8, bytes);
    if (bytes->len >= 4)
        memcpy(&number, bytes->data, 4);
    close_call(number);
}

static void executes(unsigned vcpu, void *where)
{
    (void)vcpu;
    if (counting && where)
        ((struct place *)where)->count++;
}

static void translated(plugin_id id, struct tb *tb)
{
    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
        struct insn *insn = qemu_plugin_tb_get_insn(tb, i);
        uint64_t address = qemu_plugin_insn_vaddr(insn);
        /* the kernel has the upper half of the addresses, at EL1 */
        int in_kernel = address >> 63;
        uint32_t word = 0;
        qemu_plugin_insn_data(insn, &word, sizeof word);
        qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(insn, INLINE_ADD_U64, in_kernel ? kernel : user, 1);
        if (places & (in_kernel ? 2 : 1))
            qemu_plugin_register_vcpu_insn_exec_cb(insn, executes, NO_REGS, place(address));
        if (in_kernel)
            continue;
        if (word == BEGIN)
            qemu_plugin_register_vcpu_insn_exec_cb(insn, begins, NO_REGS, NULL);
        if (word == END)
            qemu_plugin_register_vcpu_insn_exec_cb(insn, ends, NO_REGS, NULL);
        if (word == SVC)
            qemu_plugin_register_vcpu_insn_exec_cb(insn, calls, R_REGS, NULL);
    }
}

static void started(plugin_id id, unsigned vcpu)
{
    (void)id, (void)vcpu;
    struct array *all = qemu_plugin_get_registers();
    struct description *found = (struct description *)all->data;
    for (unsigned i = 0; i < all->len; i++)
        if (strcmp(found[i].name, "x8") == 0)
            x8 = found[i].handle;
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "out=", 4) == 0)
            out = fopen(argv[i] + 4, "w");
        counting |= strcmp(argv[i], "from=start") == 0;
        places |= strcmp(argv[i], "places=on") == 0;
        places |= 3 * (strcmp(argv[i], "places=all") == 0);
    }
    table = calloc(PLACES, sizeof *table);
    if (!out || !table) {
        fprintf(stderr, "count: out=FILE is missing or cannot be written\n");
        return -1;
    }
    bytes = g_byte_array_new();
    user = (counter){ qemu_plugin_scoreboard_new(sizeof(uint64_t)), 0 };
    kernel = (counter){ qemu_plugin_scoreboard_new(sizeof(uint64_t)), 0 };
    qemu_plugin_register_vcpu_init_cb(id, started);
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    return 0;
}
