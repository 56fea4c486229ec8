/* golden.txt (its format stands at the head of run.c) and SHA256SUMS. */
#include "runner.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const size_t MOST_TEXT = 1 << 20, MOST_LSB = 65535, MOST_THREADS = 64;

static _Noreturn void refuse(const char *path, size_t line, const char *why) {
  fail(WRONG, "%s: line %zu %s", path, line, why);
}

/* Cuts the next word, up to one space, off `rest`; what comes after it may have spaces. */
static char *word(char **rest) {
  char *start = *rest, *space = strchr(start, ' ');
  *rest = space ? space + 1 : start + strlen(start);
  if (space) *space = 0;
  return start;
}

static bool is_kernels(const char *text) {
  return !strcmp(text, "xnnpack") || !strcmp(text, "builtin");
}

/* "xnnpack lsb 2 relative 0.0001" */
static bool take_tolerance(struct golden *golden, char *rest) {
  const char *kernels = word(&rest);
  if (!is_kernels(kernels)) return false;
  struct tolerance *found = *kernels == 'x' ? &golden->xnnpack : &golden->builtin;
  size_t lsb;
  if (found->is_set || strcmp(word(&rest), "lsb") || !parse_count(word(&rest), MOST_LSB, &lsb))
    return false;
  if (strcmp(word(&rest), "relative") || !*rest || strspn(rest, "0123456789.e+-") != strlen(rest))
    return false;
  char *end;
  *found = (struct tolerance){true, (double)lsb, strtod(rest, &end)};
  return !*end && isfinite(found->relative) && found->relative >= 0;
}

static bool take_tensor(struct golden_tensor *tensors, size_t *count, char *rest) {
  if (*count == MOST_TENSORS) return false;
  tensors[*count].file = word(&rest);
  tensors[*count].name = rest;
  return is_safe_name(tensors[(*count)++].file);
}

static bool take_line(struct golden *golden, char *rest) {
  const char *key = word(&rest);
  if (!strcmp(key, "input")) return take_tensor(golden->input, &golden->inputs, rest);
  if (!strcmp(key, "output")) return take_tensor(golden->output, &golden->outputs, rest);
  if (!strcmp(key, "tolerance")) return take_tolerance(golden, rest);
  if (!strcmp(key, "threads"))
    return !golden->threads && parse_count(rest, MOST_THREADS, &golden->threads) && golden->threads;
  if (!strcmp(key, "model") && !golden->model) return is_safe_name(golden->model = rest);
  if (!strcmp(key, "kernels") && !golden->kernels) return is_kernels(golden->kernels = rest);
  if (!strcmp(key, "machine") && golden->machines < MOST_MACHINES)
    return is_safe_name(golden->machine[golden->machines++] = rest);
  return *key == '#';
}

/* Cuts the next line off `text`; NULL at the end, or where the last line has no end. */
static char *next_line(char **text) {
  char *line = *text, *end = strchr(line, '\n');
  if (!end) return NULL;
  *end = 0;
  *text = end + 1;
  return line;
}

static char *read_text(const char *path) {
  size_t bytes;
  char *text = read_all(path, MOST_TEXT, &bytes);
  if (strlen(text) != bytes) fail(WRONG, "%s: is not a text file", path);
  return text;
}

struct golden golden_read(const char *path) {
  struct golden golden = {0};
  size_t number = 1;
  char *text = read_text(path), *line = next_line(&text);
  if (!line || strcmp(line, "edgekit-golden/1"))
    refuse(path, 1, "is not 'edgekit-golden/1', the only format that this runner reads");
  while (*text && (line = next_line(&text))) {
    number++;
    if (!take_line(&golden, line)) refuse(path, number, "is malformed or there twice");
  }
  if (*text) refuse(path, number + 1, "is cut off");
  if (!golden.model || !golden.kernels || !golden.threads || !golden.inputs || !golden.outputs)
    refuse(path, number, "is the last, and one of model, kernels, threads, input, output lacks");
  if (!golden.xnnpack.is_set || !golden.builtin.is_set)
    refuse(path, number, "is the last, and the tolerance of xnnpack or of builtin lacks");
  return golden;
}

static bool is_digest(const char *line) {
  return strspn(line, "0123456789abcdef") == 64 && line[64] == ' ' && line[65] == ' ';
}

static void require(const char *sums, const char *name, const char *const *names, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (!strcmp(names[i], name)) return;
  fail(WRONG, "%s: does not list %s, so nothing says whether it is whole", sums, name);
}

size_t check_digests(const char *bundle, const struct golden *golden) {
  enum { MOST_FILES = 4096 };
  static const char *names[MOST_FILES];
  char *sums = join(bundle, "SHA256SUMS"), *line, hex[65];
  size_t count = 0;
  char *text = read_text(sums);
  while (*text && (line = next_line(&text))) {
    if (count == MOST_FILES || !is_digest(line) || !is_safe_name(line + 66))
      refuse(sums, count + 1, "is not a SHA-256, two spaces and a name inside the bundle");
    names[count++] = line + 66;
    char *path = join(bundle, line + 66);
    sha256_file(path, hex);
    if (memcmp(hex, line, 64)) fail(WRONG, "%s: is damaged: its SHA-256 is %s", path, hex);
    free(path);
  }
  if (*text) refuse(sums, count + 1, "is cut off");
  require(sums, "c/golden.txt", names, count);
  require(sums, golden->model, names, count);
  for (size_t i = 0; i < golden->inputs; i++) require(sums, golden->input[i].file, names, count);
  for (size_t i = 0; i < golden->outputs; i++) require(sums, golden->output[i].file, names, count);
  return count;
}
