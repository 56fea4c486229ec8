/* A run: what is checked before anything is executed, and samples through the model. */
#include "runner.h"

#include <limits.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

/* The folder above the one that this program lies in. */
static const char *own_bundle(void) {
  static char path[PATH_MAX];
  ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
  for (int up = 0; up < 2 && length > 0; up++) {
    path[length] = 0;
    char *slash = strrchr(path, '/');
    length = slash ? slash - path : 0;
  }
  if (length <= 0) fail(WRONG, "--bundle: say which folder, the program's own cannot be read");
  path[length] = 0;
  return path;
}

static void check_machine(const struct golden *golden) {
  struct utsname machine;
  if (uname(&machine) || !golden->machines) return;
  for (size_t i = 0; i < golden->machines; i++)
    if (!strcmp(golden->machine[i], machine.machine)) return;
  fail(WRONG, "the bundle is for %s, this machine is %s; --any-machine runs it all the same",
       golden->machine[0], machine.machine);
}

static size_t place_of(const char *name, const struct tensor *tensors, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (!strcmp(name, tensors[i].name) || !strcmp(name, tensors[i].own_name)) return i;
  if (count == 1) return 0;
  fail(WRONG, "golden.txt: names the tensor '%s', the model has none", name);
}

static void place_all(const struct golden_tensor *wanted, size_t count, size_t *places,
                      const struct tensor *tensors, size_t have, const char *side) {
  bool used[MOST_TENSORS] = {false};
  if (count != have)
    fail(WRONG, "golden.txt: has %zu %s, the model has %zu", count, side, have);
  for (size_t i = 0; i < count; i++) {
    places[i] = place_of(wanted[i].name, tensors, have);
    if (used[places[i]]) fail(WRONG, "golden.txt: names the tensor '%s' twice", wanted[i].name);
    used[places[i]] = true;
  }
}

/* Reads and checks everything of the bundle before the runtime is even loaded. */
void open_job(struct job *job) {
  struct request *request = &job->request;
  struct golden *golden = &job->golden;
  const char *model = request->model;
  if (!model) {
    if (!request->bundle) request->bundle = own_bundle();
    *golden = golden_read(join(request->bundle, "c/golden.txt"));
    if (!request->any_machine) check_machine(golden);
    job->checked = check_digests(request->bundle, golden);
    model = join(request->bundle, golden->model);
    if (!request->kernels) request->kernels = golden->kernels;
    if (!request->threads) request->threads = golden->threads;
  }
  size_t bytes;
  fclose(open_regular(model, &bytes));
  if (!request->kernels) request->kernels = "xnnpack";
  if (!request->threads) request->threads = 1;
}

void open_session(struct job *job) {
  struct session *session = &job->session;
  struct request *request = &job->request;
  const char *model = request->model ? request->model : join(request->bundle, job->golden.model);
  session_open(session, request->library, model, request->kernels, request->threads);
  for (size_t i = 0; i < MOST_TENSORS; i++) job->input_at[i] = job->output_at[i] = i;
  if (request->model) return;
  place_all(job->golden.input, job->golden.inputs, job->input_at, session->input, session->inputs,
            "inputs");
  place_all(job->golden.output, job->golden.outputs, job->output_at, session->output,
            session->outputs, "outputs");
}

const struct tensor *input_of(const struct job *job, size_t i) {
  return &job->session.input[job->input_at[i]];
}

const struct tensor *output_of(const struct job *job, size_t i) {
  return &job->session.output[job->output_at[i]];
}

/* A sample's share of a tensor: the whole of it, or a row where one inference takes several. */
static size_t sample_bytes(const struct job *job, const struct tensor *tensor) {
  return tensor->bytes / job->session.rows;
}

/* How many samples the array is: (N, ...), or one without the first axis. */
size_t count_samples(const struct job *job, const struct tensor *tensor,
                            const struct array *array, const char *file) {
  char have[128], want[128];
  size_t without = array->rank + 1 == tensor->rank, each = sample_bytes(job, tensor);
  bool fits = array->dtype == tensor->dtype && array->rank + without >= tensor->rank;
  fits = fits && array->rank + without == (tensor->rank ? tensor->rank : array->rank);
  for (size_t i = 1; fits && i < tensor->rank; i++)
    fits = array->dims[i - without] == tensor->dims[i];
  if (fits && each && array->bytes && array->bytes % each == 0) return array->bytes / each;
  shape_text(have, array->dims, array->rank);
  shape_text(want, tensor->dims, tensor->rank);
  fail(WRONG, "%s: is %s of shape %s, the tensor '%s' takes %s of shape %s, or N such samples", file,
       DTYPE[array->dtype].name, have, tensor->name, DTYPE[tensor->dtype].name, want);
}

static struct array read_raw(const struct job *job, const struct tensor *tensor, const char *path) {
  struct array array = {.dtype = tensor->dtype, .rank = tensor->rank};
  array.data = (uint8_t *)read_all(path, (size_t)1 << 30, &array.bytes);
  size_t each = sample_bytes(job, tensor);
  if (!each || !array.bytes || array.bytes % each)
    fail(WRONG, "%s: has %zu bytes, a sample of '%s' has %zu", path, array.bytes, tensor->name,
         each);
  memcpy(array.dims, tensor->dims, sizeof array.dims);
  return array;
}

static bool ends_in_npy(const char *path) {
  size_t length = strlen(path);
  return length > 4 && !strcmp(path + length - 4, ".npy");
}

void read_inputs(struct job *job, const char *const *files, size_t count) {
  if (count != job->session.inputs)
    fail(WRONG, "the model takes %zu inputs, not %zu files", job->session.inputs, count);
  for (size_t i = 0; i < count; i++) {
    const struct tensor *tensor = input_of(job, i);
    bool is_npy = ends_in_npy(files[i]);
    job->input[i] = is_npy ? npy_read(files[i]) : read_raw(job, tensor, files[i]);
    size_t samples = is_npy ? count_samples(job, tensor, &job->input[i], files[i])
                            : job->input[i].bytes / sample_bytes(job, tensor);
    if (i && samples != job->samples)
      fail(WRONG, "%s: has %zu samples, the files before it %zu", files[i], samples, job->samples);
    job->samples = samples;
  }
}

void read_golden_inputs(struct job *job) {
  const char *files[MOST_TENSORS];
  for (size_t i = 0; i < job->golden.inputs; i++)
    files[i] = join(job->request.bundle, job->golden.input[i].file);
  read_inputs(job, files, job->golden.inputs);
}

static void make_outputs(struct job *job) {
  for (size_t i = 0; i < job->session.outputs; i++) {
    const struct tensor *tensor = output_of(job, i);
    struct array *array = &job->output[i];
    size_t size = DTYPE[tensor->dtype].size, each = sample_bytes(job, tensor);
    array->dtype = tensor->dtype;
    array->rank = tensor->rank ? tensor->rank : 1;
    memcpy(array->dims, tensor->dims, sizeof array->dims);
    if (!multiply(each, job->samples, &array->bytes))
      fail(WRONG, "%zu samples: their outputs are too large", job->samples);
    array->values = array->bytes / size;
    size_t row = 1;
    for (size_t axis = 1; axis < tensor->rank; axis++) row *= tensor->dims[axis];
    array->dims[0] = row ? array->values / row : 0;
    array->data = allocate(array->bytes);
  }
}

void set_samples(struct job *job, size_t first, size_t count) {
  for (size_t i = 0; i < job->session.inputs; i++) {
    size_t each = sample_bytes(job, input_of(job, i));
    session_set(job->input_at[i], job->input[i].data + first * each, count * each);
  }
}

void run_samples(struct job *job) {
  make_outputs(job);
  size_t rows = job->session.rows;
  for (size_t first = 0; first < job->samples; first += rows) {
    size_t count = job->samples - first < rows ? job->samples - first : rows;
    set_samples(job, first, count);
    session_invoke();
    for (size_t i = 0; i < job->session.outputs; i++) {
      size_t each = sample_bytes(job, output_of(job, i));
      session_get(job->output_at[i], job->output[i].data + first * each, count * each);
    }
  }
}
