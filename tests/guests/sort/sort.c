// In: lines from the files named in argv, or from stdin when there are none ("-" is stdin too).
// Out: the lines sorted by their bytes; -n by their leading number, -r in reverse, -u without repeats.
// -c only checks. Exit 0; 1 when -c finds disorder; 2 when a file cannot be read or a flag is unknown.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int numeric, reverse, unique, check;
static char **lines;
static size_t count, capacity;

static void *must(void *memory) {
    if (memory == NULL) {
        fputs("sort: out of memory\n", stderr);
        exit(2);
    }
    return memory;
}

static int compare_keys(const char *a, const char *b) {
    if (numeric) {
        double x = strtod(a, NULL), y = strtod(b, NULL);
        if (x != y) return x < y ? -1 : 1;
        // With -u, equal numbers are one line whatever follows them, as in POSIX sort.
        if (unique) return 0;
    }
    return strcmp(a, b);
}

static int compare(const char *a, const char *b) { return reverse ? compare_keys(b, a) : compare_keys(a, b); }

// Bottom-up merge sort rather than qsort: stable, so that -u keeps the first of equal lines.
static void merge_sort(void) {
    char **from = lines, **to = must(malloc((count + 1) * sizeof *to));
    for (size_t width = 1; width < count; width *= 2) {
        for (size_t low = 0; low < count; low += 2 * width) {
            size_t middle = low + width < count ? low + width : count;
            size_t high = low + 2 * width < count ? low + 2 * width : count;
            size_t left = low, right = middle;
            for (size_t out = low; out < high; out++) {
                int take_left = left < middle && (right == high || compare(from[left], from[right]) <= 0);
                to[out] = take_left ? from[left++] : from[right++];
            }
        }
        char **swap = from;
        from = to;
        to = swap;
    }
    lines = from;
    free(to);
}

static void read_lines(const char *name) {
    FILE *file = strcmp(name, "-") == 0 ? stdin : fopen(name, "r");
    char *line = NULL;
    size_t size = 0;
    ssize_t length;
    if (file == NULL) {
        fputs("sort: ", stderr);
        perror(name);
        exit(2);
    }
    while ((length = getline(&line, &size, file)) >= 0) {
        if (length > 0 && line[length - 1] == '\n') line[length - 1] = 0;
        if (count == capacity) {
            capacity = capacity == 0 ? 64 : capacity * 2;
            lines = must(realloc(lines, capacity * sizeof *lines));
        }
        lines[count++] = must(strdup(line));
    }
    if (ferror(file)) {
        fputs("sort: ", stderr);
        perror(name);
        exit(2);
    }
    free(line);
    if (file != stdin) fclose(file);
}

static int first_disorder(void) {
    for (size_t i = 1; i < count; i++) {
        int order = compare(lines[i - 1], lines[i]);
        if (order > 0 || (unique && order == 0)) {
            fputs("sort: disorder: ", stderr);
            fputs(lines[i], stderr);
            fputs("\n", stderr);
            return 1;
        }
    }
    return 0;
}

static void set_flags(const char *letters) {
    for (; *letters != 0; letters++) {
        switch (*letters) {
        case 'n': numeric = 1; break;
        case 'r': reverse = 1; break;
        case 'u': unique = 1; break;
        case 'c': check = 1; break;
        default: fputs("sort: usage: sort [-nruc] [FILE...]\n", stderr); exit(2);
        }
    }
}

int main(int argc, char **argv) {
    int files = 0;
    for (int i = 1; i < argc; i++)
        if (argv[i][0] == '-' && argv[i][1] != 0) set_flags(argv[i] + 1);
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] == '-' && argv[i][1] != 0) continue;
        read_lines(argv[i]);
        files++;
    }
    if (files == 0) read_lines("-");
    if (check) return first_disorder();
    merge_sort();
    for (size_t i = 0; i < count; i++)
        if (!unique || i == 0 || compare(lines[i - 1], lines[i]) != 0) puts(lines[i]);
    return 0;
}
