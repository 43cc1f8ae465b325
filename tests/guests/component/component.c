// In: arguments, environment and stdin. Out: each of them with its number, then lines, words and bytes of stdin.
// Exit 1 when the last argument is "fail". Built for WASI preview 1 and wrapped into a wasi:cli command component.
#include <ctype.h>
#include <stdio.h>
#include <string.h>

extern char **environ;

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) printf("argument %d: %s\n", i, argv[i]);
    for (int i = 0; environ != NULL && environ[i] != NULL; i++) printf("variable %d: %s\n", i + 1, environ[i]);

    unsigned long lines = 0, words = 0, bytes = 0;
    int inside = 0, byte;
    while ((byte = getchar()) != EOF) {
        bytes++;
        lines += byte == '\n';
        words += !isspace(byte) && !inside;
        inside = !isspace(byte);
    }
    printf("stdin: %lu lines, %lu words, %lu bytes\n", lines, words, bytes);
    return argc > 1 && strcmp(argv[argc - 1], "fail") == 0;
}
