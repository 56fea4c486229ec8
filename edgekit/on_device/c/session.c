/* One opened model over LiteRT's C API, which is loaded at run time: a library that is missing, too
   old for this board's glibc, or of another version is then a sentence and not a crash. */
#define _GNU_SOURCE /* dladdr, for the path of the library that was found */
#include "litert.h"
#include "runner.h"

#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifndef LITERT_DIR
#define LITERT_DIR ""
#endif

#define AS_MEMBER(name, parameters) int(*name) parameters;
static struct { LITERT_FUNCTIONS(AS_MEMBER) } litert;

static void *library;
static Handle environment, compiled, buffers_in[MOST_TENSORS], buffers_out[MOST_TENSORS];
static size_t count_in, count_out;
static FILE *held;

/* LiteRT writes INFO lines to stderr whenever it starts; they are held back, and where it fails its
   first ERROR line is the reason that the user sees. */
static void hold_stderr(void) {
  held = tmpfile(); /* NULL on a board where nothing can be written: then its lines just show */
  int copy = held ? dup(2) : -1;
  if (copy < 0) return;
  error_file = copy;
  dup2(fileno(held), 2);
}

static void release_stderr(char *reason, size_t size) {
  char line[1024];
  if (error_file == 2) return;
  dup2(error_file, 2);
  close(error_file);
  error_file = 2;
  rewind(held);
  while (fgets(line, sizeof line, held)) {
    line[strcspn(line, "\n")] = 0;
    if (reason && !*reason && !strncmp(line, "ERROR: ", 7))
      snprintf(reason, size, ": %s", line + 7);
    if (!reason && strncmp(line, "INFO: ", 6)) fprintf(stderr, "%s\n", line);
  }
  fclose(held);
}

static void check(int status, int code, const char *what) {
  if (!status) return;
  char reason[1024] = "";
  release_stderr(reason, sizeof reason);
  fail(code, "%s (LiteRT's status %d%s)", what, status, reason);
}

static void on_crash(int number) {
  static const char text[] = "error: the runtime crashed: is the model whole, and libLiteRt.so the "
                             LITERT_VERSION " for this processor?\n";
  _exit(write(error_file, text, sizeof text - 1) < 0 ? number : LACKING);
}

static void *load_library(const char *asked) {
  char path[] = LITERT_DIR "/libLiteRt.so";
  if (asked) library = dlopen(asked, RTLD_NOW | RTLD_LOCAL);
  if (!asked && *LITERT_DIR) library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!asked && !library) library = dlopen("libLiteRt.so", RTLD_NOW | RTLD_LOCAL);
  if (!library) fail(LACKING, "libLiteRt.so cannot be loaded: %s", dlerror());
  return library;
}

static void load_functions(const char *asked) {
  load_library(asked);
  if (!dlsym(library, "LiteRtCompiledModelIsNonCpuFullyAccelerated"))
    fail(LACKING, "libLiteRt.so: is older than " LITERT_VERSION ", whose C API this runner speaks");
#define LOAD(name, parameters)                                                    \
  if (!(*(void **)(void *)&litert.name = dlsym(library, "LiteRt" #name)))         \
    fail(LACKING, "libLiteRt.so: has no function LiteRt" #name ", is it " LITERT_VERSION "?");
  LITERT_FUNCTIONS(LOAD)
}

const char *session_library(void) {
  Dl_info info;
  return dladdr(dlsym(library, "LiteRtCreateEnvironment"), &info) ? info.dli_fname : "unknown";
}

uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static Handle options_of(const char *kernels, size_t threads) {
  Handle options, opaque;
  char *toml = allocate(128);
  sprintf(toml, "kernel_mode = \"%s\"\nnum_threads = %zu\n", kernels, threads);
  check(litert.CreateOptions(&options), LACKING, "the options cannot be made");
  check(litert.SetOptionsHardwareAccelerators(options, LITERT_CPU), LACKING, "no CPU accelerator");
  check(litert.CreateOpaqueOptions("xnnpack", toml, free, &opaque), LACKING, "no CPU options");
  check(litert.AddOpaqueOptions(options, opaque), LACKING, "the CPU options were not taken");
  return options;
}

static enum dtype dtype_of(int element_type, const char *name) {
  static const int of[DTYPES] = {[FLOAT32] = LITERT_FLOAT32, [INT8] = LITERT_INT8,
                                 [UINT8] = LITERT_UINT8,     [INT16] = LITERT_INT16,
                                 [INT32] = LITERT_INT32,     [INT64] = LITERT_INT64};
  for (int i = 0; i < DTYPES; i++)
    if (of[i] == element_type) return (enum dtype)i;
  fail(LACKING, "the tensor '%s' has a dtype (LiteRT's number %d) that this runner cannot pass",
       name, element_type);
}

/* Reads dtype and shape; an open batch axis becomes 1, in `type` too, which LiteRT reads again. */
static void read_type(struct tensor *tensor, Handle handle, LiteRtRankedTensorType *type) {
  check(litert.GetTensorName(handle, &tensor->own_name), LACKING, "a tensor has no name");
  if (!tensor->name) tensor->name = tensor->own_name;
  check(litert.GetRankedTensorType(handle, type), LACKING, "a tensor has no shape");
  tensor->dtype = dtype_of(type->element_type, tensor->name);
  tensor->rank = type->layout.rank_and_flag & 127;
  tensor->values = 1;
  if (tensor->rank > MOST_DIMS)
    fail(LACKING, "the tensor '%s' has more than 8 axes", tensor->name);
  for (size_t i = 0; i < tensor->rank; i++) {
    int32_t size = type->layout.dims[i];
    if (size < 0 && i == 0) size = type->layout.dims[i] = 1;
    if (size < 0)
      fail(LACKING, "the tensor '%s' has an open axis %zu: convert the model with a fixed shape",
           tensor->name, i);
    tensor->dims[i] = (size_t)size;
    if (!multiply(tensor->values, tensor->dims[i], &tensor->values))
      fail(WRONG, "the tensor '%s' is too large", tensor->name);
  }
  tensor->bytes = tensor->values * DTYPE[tensor->dtype].size;
}

/* The buffers are in the order of the graph, the names of a signature in another: a name belongs to
   the place in the graph whose tensor it stands for. */
static void read_name(struct tensor *tensor, Handle signature, Handle handle, bool is_input) {
  size_t names;
  int status = is_input ? litert.GetNumSignatureInputs(signature, &names)
                        : litert.GetNumSignatureOutputs(signature, &names);
  for (size_t i = 0; !status && i < names; i++) {
    Handle other = NULL;
    status = is_input ? litert.GetSignatureInputTensorByIndex(signature, i, &other)
                      : litert.GetSignatureOutputTensorByIndex(signature, i, &other);
    if (status || other != handle || tensor->name) continue;
    status = is_input ? litert.GetSignatureInputName(signature, i, &tensor->name)
                      : litert.GetSignatureOutputName(signature, i, &tensor->name);
  }
  check(status, LACKING, "the signature of the model cannot be read");
}

static Handle open_tensor(struct tensor *tensor, Handle signature, Handle graph, size_t i,
                          bool is_input) {
  static Handle seen[2 * MOST_TENSORS];
  static size_t count;
  Handle handle, needs, buffer;
  LiteRtRankedTensorType type;
  size_t packed;
  check(is_input ? litert.GetSubgraphInput(graph, i, &handle)
                 : litert.GetSubgraphOutput(graph, i, &handle), LACKING, "a tensor is missing");
  read_name(tensor, signature, handle, is_input);
  read_type(tensor, handle, &type);
  for (size_t other = 0; other < count; other++) /* LiteRT would leave one buffer as it was */
    if (seen[other] == handle)
      fail(LACKING, "the output '%s' is an input or another output too, which the C API cannot pass",
           tensor->name);
  seen[count++] = handle;
  check(is_input ? litert.GetCompiledModelInputBufferRequirements(compiled, 0, i, &needs)
                 : litert.GetCompiledModelOutputBufferRequirements(compiled, 0, i, &needs),
        LACKING, "LiteRT does not say what buffer a tensor needs");
  check(litert.CreateManagedTensorBufferFromRequirements(environment, &type, needs, &buffer),
        LACKING, "a buffer cannot be made");
  check(litert.GetTensorBufferPackedSize(buffer, &packed), LACKING, "a buffer has no size");
  if (packed != tensor->bytes)
    fail(LACKING, "the tensor '%s' has %zu bytes in LiteRT, its shape says %zu", tensor->name,
         packed, tensor->bytes);
  return buffer;
}

static void open_tensors(struct session *session, Handle signature) {
  Handle graph;
  check(litert.GetSignatureSubgraph(signature, &graph), LACKING, "the model has no graph");
  check(litert.GetNumSubgraphInputs(graph, &count_in), LACKING, "the model has no inputs");
  check(litert.GetNumSubgraphOutputs(graph, &count_out), LACKING, "the model has no outputs");
  if (!count_in || !count_out || count_in > MOST_TENSORS || count_out > MOST_TENSORS)
    fail(LACKING, "the model has %zu inputs and %zu outputs; 1 to 64 of each can be passed",
         count_in, count_out);
  for (size_t i = 0; i < count_in; i++)
    buffers_in[i] = open_tensor(&session->input[i], signature, graph, i, true);
  for (size_t i = 0; i < count_out; i++)
    buffers_out[i] = open_tensor(&session->output[i], signature, graph, i, false);
  session->inputs = count_in;
  session->outputs = count_out;
}

/* A batch is the first axis, where every tensor has it; else one inference is one sample. */
static size_t rows_of(const struct session *session) {
  size_t rows = session->input[0].rank ? session->input[0].dims[0] : 1;
  for (size_t i = 0; i < session->inputs + session->outputs; i++) {
    const struct tensor *t =
        i < session->inputs ? &session->input[i] : &session->output[i - session->inputs];
    if (!t->rank || t->dims[0] != rows) return 1;
  }
  return rows ? rows : 1;
}

void session_open(struct session *session, const char *asked, const char *model,
                  const char *kernels, size_t threads) {
  /* Only the CPU: nothing is searched for a GPU that would not be used. */
  LiteRtEnvOption only_cpu = {LITERT_ENV_ACCELERATORS, 0, LITERT_ANY_INT, 0, LITERT_CPU};
  Handle loaded, signature;
  memset(session, 0, sizeof *session);
  for (int i = 0; i < 4; i++) signal((int[]){SIGSEGV, SIGBUS, SIGILL, SIGABRT}[i], on_crash);
  uint64_t start = now_ns();
  load_functions(asked);
  session->library_ns = now_ns() - start;
  hold_stderr();
  start = now_ns();
  check(litert.CreateEnvironment(1, &only_cpu, &environment), LACKING, "LiteRT does not start");
  check(litert.CreateModelFromFile(environment, model, &loaded), WRONG,
        "the model is damaged or no .tflite file");
  check(litert.CreateCompiledModel(environment, loaded, options_of(kernels, threads), &compiled),
        LACKING, "LiteRT cannot run the model");
  check(litert.GetModelSignature(loaded, 0, &signature), LACKING, "the model has no signature");
  open_tensors(session, signature);
  session->load_ns = now_ns() - start;
  session->rows = rows_of(session);
  release_stderr(NULL, 0);
}

void session_set(size_t input, const void *data, size_t bytes) {
  void *memory;
  size_t whole;
  check(litert.GetTensorBufferPackedSize(buffers_in[input], &whole), LACKING, "a buffer is gone");
  check(litert.LockTensorBuffer(buffers_in[input], &memory, LITERT_WRITE), LACKING,
        "a buffer cannot be written");
  memcpy(memory, data, bytes);
  memset((uint8_t *)memory + bytes, 0, whole - bytes);
  check(litert.UnlockTensorBuffer(buffers_in[input]), LACKING, "a buffer stays locked");
}

uint64_t session_invoke(void) {
  static bool has_run; /* LiteRT prepares the ops in the first run, so that is where one can lack */
  if (!has_run) hold_stderr();
  uint64_t start = now_ns();
  int status = litert.RunCompiledModel(compiled, 0, count_in, buffers_in, count_out, buffers_out);
  uint64_t took = now_ns() - start;
  check(status, LACKING, "LiteRT cannot run the model");
  if (!has_run) release_stderr(NULL, 0);
  has_run = true;
  return took;
}

void session_get(size_t output, void *data, size_t bytes) {
  void *memory;
  check(litert.LockTensorBuffer(buffers_out[output], &memory, LITERT_READ), LACKING,
        "a buffer cannot be read");
  memcpy(data, memory, bytes);
  check(litert.UnlockTensorBuffer(buffers_out[output]), LACKING, "a buffer stays locked");
}
