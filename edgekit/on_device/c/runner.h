/* What the files of the runner share. Every function that can fail ends the program with one
   sentence on stderr and an exit code, so nothing here returns an error. */
#ifndef EDGEKIT_RUNNER_H
#define EDGEKIT_RUNNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { OK = 0, BROKEN = 1, WRONG = 2, LACKING = 3 }; /* exit codes, see run.c */
enum { MOST_TENSORS = 64, MOST_DIMS = 8, MOST_MACHINES = 8 };

/* ---- common.c ---- */
_Noreturn void fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
extern int error_file; /* where fail() writes: stderr, or its copy while stderr is held back */
void *allocate(size_t bytes);
bool multiply(size_t a, size_t b, size_t *product);   /* false where it overflows */
bool parse_count(const char *text, size_t most, size_t *value); /* decimal digits only */
FILE *open_regular(const char *path, size_t *bytes);  /* no folder, no pipe, no device */
char *read_all(const char *path, size_t most, size_t *bytes);   /* with a 0 byte at its end */
char *join(const char *folder, const char *name);
bool is_safe_name(const char *name);                  /* stays inside the bundle's folder */

/* ---- sha256.c ---- */
struct sha256 { uint32_t state[8]; uint64_t bytes; uint8_t block[64]; };
void sha256_start(struct sha256 *hash);
void sha256_add(struct sha256 *hash, const void *data, size_t bytes);
void sha256_hex(struct sha256 *hash, char hex[65]);
void sha256_file(const char *path, char hex[65]);

/* ---- npy.c ---- */
enum dtype { FLOAT32, INT8, UINT8, INT16, INT32, INT64, DTYPES };
struct dtype_info { const char *name, *npy; size_t size; };
extern const struct dtype_info DTYPE[DTYPES];
struct array { enum dtype dtype; size_t rank, dims[MOST_DIMS], values, bytes; uint8_t *data; };
struct array npy_read(const char *path);
void npy_write(const char *path, const struct array *array);
double value_at(const uint8_t *data, enum dtype dtype, size_t index);
void shape_text(char text[128], const size_t *dims, size_t rank);

/* ---- golden.c ---- */
struct tolerance { bool is_set; double lsb, relative; };
struct golden_tensor { const char *file, *name; };
struct golden {
  const char *model, *kernels;
  size_t threads, machines, inputs, outputs;
  struct tolerance xnnpack, builtin;
  const char *machine[MOST_MACHINES];
  struct golden_tensor input[MOST_TENSORS], output[MOST_TENSORS];
};
struct golden golden_read(const char *path);
size_t check_digests(const char *bundle, const struct golden *golden); /* how many files */

/* ---- session.c ---- */
struct tensor {
  const char *name, *own_name; /* the signature's name, and the one in the graph */
  enum dtype dtype;
  size_t rank, dims[MOST_DIMS], values, bytes;
};
struct session {
  size_t inputs, outputs, rows; /* rows: samples that one inference takes */
  struct tensor input[MOST_TENSORS], output[MOST_TENSORS];
  uint64_t library_ns, load_ns;
};
void session_open(struct session *session, const char *library, const char *model,
                  const char *kernels, size_t threads);
const char *session_library(void); /* the file that was loaded */
void session_set(size_t input, const void *data, size_t bytes);  /* fewer than a whole: 0 after */
uint64_t session_invoke(void);   /* the time that it took, in ns */
void session_get(size_t output, void *data, size_t bytes);
uint64_t now_ns(void);

/* ---- job.c ---- */
struct request {
  const char *command, *bundle, *model, *kernels, *library;
  size_t threads, runs, files, outs;
  bool any_machine;
  const char *file[MOST_TENSORS], *out[MOST_TENSORS];
};

/* Everything of a run: arrays and tensors are in the order of golden.txt, `*_at` is the place of
   each in the session. */
struct job {
  struct request request;
  struct golden golden; /* without inputs where there is only --model */
  struct session session;
  size_t input_at[MOST_TENSORS], output_at[MOST_TENSORS], samples, checked;
  struct array input[MOST_TENSORS], output[MOST_TENSORS];
};

void open_job(struct job *job); /* reads and checks the bundle; nothing is executed */
void open_session(struct job *job);
const struct tensor *input_of(const struct job *job, size_t i);
const struct tensor *output_of(const struct job *job, size_t i);
size_t count_samples(const struct job *job, const struct tensor *tensor, const struct array *array,
                     const char *file);
void read_inputs(struct job *job, const char *const *files, size_t count);
void read_golden_inputs(struct job *job);
void set_samples(struct job *job, size_t first, size_t count);
void run_samples(struct job *job);

#endif
