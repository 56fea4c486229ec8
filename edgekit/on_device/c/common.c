/* Errors, bounded reading, and names of files. */
#include "runner.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int error_file = 2;

void fail(int code, const char *format, ...) {
  char text[4096];
  va_list values;
  va_start(values, format);
  vsnprintf(text, sizeof text, format, values);
  va_end(values);
  fflush(stdout);
  dprintf(error_file, "error: %s\n", text);
  _Exit(code); /* no destructors: the runtime's threads may still be there */
}

void *allocate(size_t bytes) {
  void *memory = calloc(bytes ? bytes : 1, 1);
  if (!memory) fail(LACKING, "memory: %zu bytes are not to be had on this machine", bytes);
  return memory;
}

bool multiply(size_t a, size_t b, size_t *product) {
  if (b && a > SIZE_MAX / b) return false;
  *product = a * b;
  return true;
}

bool parse_count(const char *text, size_t most, size_t *value) {
  size_t found = 0;
  if (!*text) return false;
  for (; *text; text++) {
    if (*text < '0' || *text > '9') return false;
    size_t digit = (size_t)(*text - '0');
    if (digit > most || found > (most - digit) / 10) return false;
    found = found * 10 + digit;
  }
  *value = found;
  return true;
}

FILE *open_regular(const char *path, size_t *bytes) {
  struct stat status;
  int file = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* a pipe must not block */
  if (file < 0) fail(WRONG, "%s: %s", path, strerror(errno));
  if (fstat(file, &status) || !S_ISREG(status.st_mode)) fail(WRONG, "%s: is not a file", path);
  FILE *stream = fdopen(file, "rb");
  if (!stream) fail(LACKING, "%s: %s", path, strerror(errno));
  *bytes = (size_t)status.st_size;
  return stream;
}

char *read_all(const char *path, size_t most, size_t *bytes) {
  FILE *file = open_regular(path, bytes);
  if (*bytes > most) fail(WRONG, "%s: has %zu bytes, %zu are the most", path, *bytes, most);
  char *data = allocate(*bytes + 1);
  if (fread(data, 1, *bytes, file) != *bytes) fail(WRONG, "%s: cannot be read", path);
  fclose(file);
  return data;
}

char *join(const char *folder, const char *name) {
  char *path = allocate(strlen(folder) + strlen(name) + 2);
  sprintf(path, "%s/%s", folder, name);
  return path;
}

/* ^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+){0,3}$, and no part is "." or ".." */
bool is_safe_name(const char *name) {
  static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
  for (int parts = 1;; parts++) {
    size_t length = strspn(name, allowed);
    bool is_dots = (length == 1 && name[0] == '.') || (length == 2 && !strncmp(name, "..", 2));
    if (!length || is_dots || parts > 4) return false;
    if (!name[length]) return true;
    if (name[length] != '/') return false;
    name += length + 1;
  }
}
