// In: argv[1], an address (0xfffffff0 when absent). Out: the total of a list whose nodes are fine, then a trap: the
// same list with its last link set to that address. The module keeps its function names, so the backtrace reads
// node_value, list_total, report, main.
#include <stdio.h>
#include <stdlib.h>

typedef struct Node {
    int value;
    struct Node *next;
} Node;

// Frames must stay apart for the backtrace to be worth a test.
#define FRAME __attribute__((noinline))

FRAME static int node_value(const Node *volatile node) { return node->value; }

FRAME static int list_total(const Node *node, int count_max) {
    int total = 0;
    for (int i = 0; node != NULL && i < count_max; i++) {
        total += node_value(node);
        node = node->next;
    }
    return total;
}

FRAME static void report(const char *name, const Node *list) {
    int total = list_total(list, 100);
    printf("%s list: total %d\n", name, total);
    fflush(stdout);
}

int main(int argc, char **argv) {
    unsigned long address = argc > 1 ? strtoul(argv[1], NULL, 0) : 0xfffffff0ul;
    Node nodes[3] = {{1, &nodes[1]}, {20, &nodes[2]}, {300, NULL}};
    report("whole", nodes);
    printf("about to follow 0x%lx\n", address);
    fflush(stdout);
    nodes[2].next = (Node *)address;
    report("broken", nodes);
    puts("not reached");
    return 0;
}
