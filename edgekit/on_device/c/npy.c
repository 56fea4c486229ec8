/* .npy files (versions 1.0 and 2.0) of the dtypes that models take, read strictly. */
#include "runner.h"

#include <stdlib.h>
#include <string.h>

const struct dtype_info DTYPE[DTYPES] = {
    [FLOAT32] = {"float32", "<f4", 4}, [INT8] = {"int8", "|i1", 1},   [UINT8] = {"uint8", "|u1", 1},
    [INT16] = {"int16", "<i2", 2},     [INT32] = {"int32", "<i4", 4}, [INT64] = {"int64", "<i8", 8},
};

static const size_t MOST_HEADER = 1 << 16, MOST_FILE = (size_t)1 << 30;

/* The header is a literal of Python, `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`,
   and is read from left to right; `at` moves on. */
static bool take(const char **at, const char *word) {
  while (**at == ' ') ++*at;
  size_t length = strlen(word);
  if (strncmp(*at, word, length)) return false;
  *at += length;
  return true;
}

static bool take_dtype(const char **at, enum dtype *dtype) {
  for (int i = 0; i < DTYPES; i++) {
    char quoted[8];
    sprintf(quoted, "'%s'", DTYPE[i].npy);
    if (take(at, quoted)) {
      *dtype = (enum dtype)i;
      return true;
    }
  }
  return false;
}

static bool take_size(const char **at, size_t *size) {
  char digits[24];
  while (**at == ' ') ++*at;
  size_t length = strspn(*at, "0123456789");
  if (!length || length >= sizeof digits || (length > 1 && **at == '0')) return false;
  memcpy(digits, *at, length);
  digits[length] = 0;
  *at += length;
  return parse_count(digits, SIZE_MAX / 2, size);
}

static bool take_shape(const char **at, struct array *array) {
  if (!take(at, "(")) return false;
  for (array->rank = 0; !take(at, ")"); array->rank++) {
    if (array->rank == MOST_DIMS || !take_size(at, &array->dims[array->rank])) return false;
    if (take(at, ",")) continue;
    if (array->rank == 0 || !take(at, ")")) return false; /* (3) is no tuple in Python */
    array->rank++;
    break;
  }
  return true;
}

static void parse_header(const char *path, const char *header, struct array *array) {
  bool seen[3] = {false, false, false};
  const char *at = header;
  bool fits = take(&at, "{");
  while (fits && !take(&at, "}")) {
    int key = take(&at, "'descr':") ? 0 : take(&at, "'fortran_order':") ? 1
              : take(&at, "'shape':") ? 2 : 3;
    if (key == 3 || seen[key]) fail(WRONG, "%s: its .npy header is malformed", path);
    seen[key] = true;
    if (key == 0 && !take_dtype(&at, &array->dtype))
      fail(WRONG, "%s: its dtype is not one of float32, int8, uint8, int16, int32, int64", path);
    if (key == 1 && !take(&at, "False"))
      fail(WRONG, "%s: is in Fortran order; save it with numpy.ascontiguousarray", path);
    fits = (key != 2 || take_shape(&at, array)) && (take(&at, ",") || *at == '}');
  }
  at += strspn(at, " ");
  if (!fits || !seen[0] || !seen[1] || !seen[2] || strcmp(at, "\n"))
    fail(WRONG, "%s: its .npy header is malformed", path);
}

static void check_size(const char *path, struct array *array, size_t have) {
  array->values = 1;
  bool fits = true;
  for (size_t i = 0; i < array->rank; i++)
    fits = fits && multiply(array->values, array->dims[i], &array->values);
  fits = fits && multiply(array->values, DTYPE[array->dtype].size, &array->bytes);
  if (!fits || array->bytes != have)
    fail(WRONG, "%s: has %zu bytes of values, its shape says another number", path, have);
}

struct array npy_read(const char *path) {
  struct array array = {0};
  size_t bytes;
  uint8_t *file = (uint8_t *)read_all(path, MOST_FILE, &bytes);
  bool is_2 = bytes > 6 && file[6] == 2;
  size_t before = is_2 ? 12 : 10;
  if (bytes < before || memcmp(file, "\x93NUMPY", 6) || (file[6] != 1 && !is_2) || file[7])
    fail(WRONG, "%s: is not a .npy file of version 1.0 or 2.0", path);
  size_t header = (size_t)file[8] | (size_t)file[9] << 8;
  if (is_2) header |= (size_t)file[10] << 16 | (size_t)file[11] << 24;
  if (header > MOST_HEADER || header > bytes - before)
    fail(WRONG, "%s: is cut off in its header", path);
  char *text = allocate(header + 1);
  memcpy(text, file + before, header);
  if (strlen(text) != header) fail(WRONG, "%s: its .npy header is malformed", path);
  parse_header(path, text, &array);
  free(text);
  check_size(path, &array, bytes - before - header);
  array.data = allocate(array.bytes); /* a copy, which is aligned and whose end is its own */
  memcpy(array.data, file + before + header, array.bytes);
  free(file);
  return array;
}

void npy_write(const char *path, const struct array *array) {
  char header[256], *part = allocate(strlen(path) + 6);
  int used = sprintf(header, "{'descr': '%s', 'fortran_order': False, 'shape': (",
                     DTYPE[array->dtype].npy);
  for (size_t i = 0; i < array->rank; i++)
    used += sprintf(header + used, i ? " %zu," : "%zu,", array->dims[i]);
  if (array->rank > 1) used--; /* (2, 3) but (2,) */
  used += sprintf(header + used, "), }");
  int padding = 63 - (10 + used) % 64;
  uint16_t length = (uint16_t)(used + padding + 1);
  sprintf(part, "%s.part", path);
  FILE *file = fopen(part, "wb");
  if (!file) fail(WRONG, "%s: cannot be written", path);
  fwrite("\x93NUMPY\x01", 1, 8, file); /* the 0 byte of the literal is the minor version */
  fputc(length & 255, file);
  fputc(length >> 8, file);
  fprintf(file, "%s%*s\n", header, padding, "");
  fwrite(array->data, 1, array->bytes, file);
  bool is_bad = ferror(file);
  if (fclose(file) || is_bad || rename(part, path)) {
    remove(part);
    fail(WRONG, "%s: cannot be written", path);
  }
  free(part);
}

double value_at(const uint8_t *data, enum dtype dtype, size_t index) {
  float f;
  int16_t i16;
  int32_t i32;
  int64_t i64;
  const uint8_t *at = data + index * DTYPE[dtype].size;
  switch (dtype) {
    case FLOAT32: return memcpy(&f, at, 4), f;
    case INT8: return *(const int8_t *)at;
    case UINT8: return *at;
    case INT16: return memcpy(&i16, at, 2), i16;
    case INT32: return memcpy(&i32, at, 4), i32;
    default: return memcpy(&i64, at, 8), (double)i64;
  }
}

void shape_text(char text[128], const size_t *dims, size_t rank) {
  int used = 0;
  sprintf(text, "one value");
  for (size_t i = 0; i < rank && used < 100; i++)
    used += snprintf(text + used, 128 - (size_t)used, i ? "x%zu" : "%zu", dims[i]);
}
