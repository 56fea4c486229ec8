/* The native runner of a bundle, for boards without Python: LiteRT through its C API.

   run selftest [--bundle DIR] [--any-machine]        digests, then the golden outputs
   run infer INPUT.npy|INPUT.bin ... [--out FILE.npy] raw values in the model's own dtype
   run bench [--runs N]                               raw times in ns, and the peak memory
   run info                                           inputs, outputs, the library

   All take --bundle DIR (default: the folder above this program's), or --model FILE.tflite in its
   place; --kernels xnnpack|builtin, --threads N, --library FILE (libLiteRt.so).
   (The C API has no reference kernels: its mode of that name runs the builtin ones.)

   Exit codes: 0 ok; 1 outputs outside the tolerance; 2 wrong request or damaged bundle, nothing was
   executed; 3 could not run (no library, an op or a dtype that it lacks). Errors: one sentence on
   stderr.

   c/golden.txt says what to run, one thing a line, words with one space between them:
     edgekit-golden/1                             the format, always the first line
     model model.tflite                           a file of the bundle
     kernels xnnpack                              which kernels the target runs, or builtin
     threads 1                                    1 to 64
     tolerance xnnpack lsb 2 relative 0.0001      integers: |difference| <= lsb; floats: at most
     tolerance builtin lsb 2 relative 0.0001      relative * max(|expected|) of that output
     machine aarch64                              what uname -m may say; none of them: anything
     input golden/input_0.npy serving_image       in the manifest's order, the name of the tensor
     output golden/output_0.npy probabilities     last on its line (it may have spaces)
     # anything                                   a remark
   It is written by edgekit/on_device/c_golden.py. */
#include "runner.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static size_t number(const char *option, const char *text, size_t most) {
  size_t value;
  if (!parse_count(text, most, &value) || !value)
    fail(WRONG, "%s %s: takes a whole number from 1 to %zu", option, text, most);
  return value;
}

static void take_option(struct request *request, const char *option, const char *value) {
  if (!strcmp(option, "--bundle")) request->bundle = value;
  else if (!strcmp(option, "--model")) request->model = value;
  else if (!strcmp(option, "--library")) request->library = value;
  else if (!strcmp(option, "--kernels")) request->kernels = value;
  else if (!strcmp(option, "--threads")) request->threads = number(option, value, 64);
  else if (!strcmp(option, "--runs")) request->runs = number(option, value, 10000000);
  else if (!strcmp(option, "--out") && request->outs < MOST_TENSORS)
    request->out[request->outs++] = value;
  else fail(WRONG, "%s: is no option of this program", option);
}

typedef int (*Command)(struct job *job);

static int selftest(struct job *), infer(struct job *), bench(struct job *), info(struct job *);

static Command command_of(const char *word) {
  if (!strcmp(word, "selftest")) return selftest;
  if (!strcmp(word, "infer")) return infer;
  if (!strcmp(word, "bench")) return bench;
  if (!strcmp(word, "info")) return info;
  fail(WRONG, "'%s': is no command; known: selftest, infer, bench, info", word);
}

static struct request parse(int count, char **words) {
  struct request request = {.runs = 100, .command = count > 1 ? words[1] : ""};
  const char *command = request.command;
  Command known = command_of(command);
  for (int i = 2; i < count; i++) {
    bool is_option = !strncmp(words[i], "--", 2);
    if (!strcmp(words[i], "--any-machine")) request.any_machine = true;
    else if (is_option && i + 1 == count) fail(WRONG, "%s: needs a value", words[i]);
    else if (is_option) take_option(&request, words[i], words[i + 1]), i++;
    else if (request.files < MOST_TENSORS) request.file[request.files++] = words[i];
    else fail(WRONG, "%s: is one file too many", words[i]);
  }
  if (request.kernels && strcmp(request.kernels, "xnnpack") && strcmp(request.kernels, "builtin"))
    fail(WRONG, "--kernels %s: is not one of xnnpack, builtin", request.kernels);
  if ((known == infer) != (request.files > 0))
    fail(WRONG, "%s: takes %s", command, request.files ? "no files" : "the files of the inputs");
  if (request.model && (known == selftest || request.bundle))
    fail(WRONG, "--model %s: has no golden outputs; give a --bundle, or not both", request.model);
  return request;
}

struct difference { double largest, allowed; size_t values; };

static double allowed_for(const struct array *want, const struct tolerance *tolerance) {
  double largest = 0;
  if (want->dtype != FLOAT32) return tolerance->lsb;
  for (size_t i = 0; i < want->values; i++) {
    double size = fabs(value_at(want->data, want->dtype, i));
    if (isfinite(size) && size > largest) largest = size;
  }
  return tolerance->relative * largest;
}

/* Not a number, or infinite, on one side only is an infinite difference. */
static struct difference compare(const struct array *want, const struct array *have,
                                 const struct tolerance *tolerance) {
  struct difference found = {0, allowed_for(want, tolerance), 0};
  for (size_t i = 0; i < want->values; i++) {
    double a = value_at(want->data, want->dtype, i), b = value_at(have->data, have->dtype, i);
    if (a == b || (isnan(a) && isnan(b))) continue;
    double difference = isfinite(a - b) ? fabs(a - b) : INFINITY;
    found.values++;
    if (difference > found.largest) found.largest = difference;
  }
  return found;
}

static int selftest(struct job *job) {
  const struct golden *golden = &job->golden;
  struct array want[MOST_TENSORS];
  const char *kernels = job->request.kernels;
  const struct tolerance *tolerance = *kernels == 'x' ? &golden->xnnpack : &golden->builtin;
  for (size_t i = 0; i < golden->outputs; i++)
    want[i] = npy_read(join(job->request.bundle, golden->output[i].file));
  open_session(job);
  read_golden_inputs(job);
  for (size_t i = 0; i < golden->outputs; i++)
    if (count_samples(job, output_of(job, i), &want[i], golden->output[i].file) != job->samples)
      fail(WRONG, "%s: has not one output for each of the %zu samples", golden->output[i].file,
           job->samples);
  run_samples(job);
  bool is_within = true;
  printf("files: the %zu of SHA256SUMS are whole\n", job->checked);
  for (size_t i = 0; i < golden->outputs; i++) {
    struct difference found = compare(&want[i], &job->output[i], tolerance);
    bool fits = found.largest <= found.allowed;
    is_within = is_within && fits;
    printf("output '%s': %s: largest difference %.6g%s, %.6g allowed; %zu of %zu values differ\n",
           golden->output[i].name, fits ? "ok" : "OUTSIDE THE TOLERANCE", found.largest,
           want[i].dtype == FLOAT32 ? "" : " LSB", found.allowed, found.values, want[i].values);
  }
  printf("placement: not checked (this runner uses the CPU only and cannot read it)\n");
  printf("%s: %zu samples, kernels %s, threads %zu\n", is_within ? "ok" : "failed", job->samples,
         kernels, job->request.threads);
  if (!is_within) fail(BROKEN, "the outputs are outside the tolerance for the kernels %s", kernels);
  return OK;
}

static void print_json_text(const char *text) {
  putchar('"');
  for (; *text; text++) {
    unsigned char c = (unsigned char)*text;
    if (c < 32 || c == 127) printf("\\u%04x", c);
    else printf(c == '"' || c == '\\' ? "\\%c" : "%c", c);
  }
  putchar('"');
}

static void print_values(const struct array *array, size_t first, size_t count) {
  size_t largest = 0;
  for (size_t i = 1; i < count; i++)
    if (value_at(array->data, array->dtype, first + i) >
        value_at(array->data, array->dtype, first + largest)) largest = i;
  printf("{\"largest\": %zu, \"values\": [", largest);
  for (size_t i = 0; i < count; i++) {
    double value = value_at(array->data, array->dtype, first + i);
    printf(i ? ", " : "");
    if (isfinite(value)) printf(array->dtype == FLOAT32 ? "%.9g" : "%.0f", value);
    else printf("null");
  }
  printf("]}");
}

static void print_sample(const struct job *job, size_t sample) {
  printf("{\"sample\": %zu, \"outputs\": {", sample);
  for (size_t i = 0; i < job->session.outputs; i++) {
    size_t each = job->output[i].values / job->samples;
    printf(i ? ", " : "");
    print_json_text(output_of(job, i)->name);
    printf(": ");
    print_values(&job->output[i], sample * each, each);
  }
  printf("}}\n");
}

static int infer(struct job *job) {
  const struct request *request = &job->request;
  open_session(job);
  read_inputs(job, request->file, request->files);
  if (request->outs && request->outs != job->session.outputs)
    fail(WRONG, "--out: give it once for each of the %zu outputs", job->session.outputs);
  run_samples(job);
  for (size_t i = 0; i < request->outs; i++) npy_write(request->out[i], &job->output[i]);
  for (size_t i = 0; !request->outs && i < job->samples; i++) print_sample(job, i);
  return OK;
}

static size_t peak_bytes(void) {
  char line[256];
  size_t kilobytes = 0;
  FILE *file = fopen("/proc/self/status", "r");
  while (file && fgets(line, sizeof line, file))
    if (sscanf(line, "VmHWM: %zu", &kilobytes) == 1) break;
  if (file) fclose(file);
  return kilobytes * 1024;
}

static int by_size(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

/* The nearest rank; percentiles that so few runs cannot tell (99 % confidence) are left out. */
static void print_percentile(const uint64_t *sorted, size_t count, size_t percent, size_t fewest) {
  size_t rank = (count * percent + 99) / 100;
  if (count < fewest) printf("\"p%zu_ns\": null, ", percent);
  else printf("\"p%zu_ns\": %llu, ", percent, (unsigned long long)sorted[rank - 1]);
}

static void print_times(const uint64_t *samples, size_t count) {
  uint64_t *sorted = allocate(count * sizeof *sorted);
  memcpy(sorted, samples, count * sizeof *sorted);
  qsort(sorted, count, sizeof *sorted, by_size);
  uint64_t middle = (sorted[(count - 1) / 2] + sorted[count / 2]) / 2;
  printf("\"runs\": %zu, \"median_ns\": %llu, ", count, (unsigned long long)middle);
  print_percentile(sorted, count, 90, 64);
  print_percentile(sorted, count, 99, 662);
  printf("\"samples_ns\": [");
  for (size_t i = 0; i < count; i++)
    printf(i ? ", %llu" : "%llu", (unsigned long long)samples[i]);
  printf("]}\n");
}

static int bench(struct job *job) {
  enum { WARM_UPS = 10 };
  size_t runs = job->request.runs, before = peak_bytes();
  uint64_t *samples = allocate(runs * sizeof *samples);
  open_session(job);
  if (!job->request.model) {
    read_golden_inputs(job);
    set_samples(job, 0, job->samples < job->session.rows ? job->samples : job->session.rows);
  } else {
    for (size_t i = 0; i < job->session.inputs; i++) session_set(i, "", 0);
  }
  uint64_t first = session_invoke();
  for (size_t i = 0; i < WARM_UPS; i++) session_invoke();
  for (size_t i = 0; i < runs; i++) samples[i] = session_invoke();
  printf("{\"kernels\": \"%s\", \"threads\": %zu, \"input\": \"%s\", \"samples_per_run\": %zu, ",
         job->request.kernels, job->request.threads, job->request.model ? "zeros" : "golden",
         job->session.rows);
  printf("\"library_ns\": %llu, \"load_ns\": %llu, \"first_ns\": %llu, ",
         (unsigned long long)job->session.library_ns, (unsigned long long)job->session.load_ns,
         (unsigned long long)first);
  printf("\"peak_bytes\": %zu, \"before_bytes\": %zu, ", peak_bytes(), before);
  print_times(samples, runs);
  return OK;
}

static int info(struct job *job) {
  char digest[65], shape[128];
  open_session(job);
  sha256_file(session_library(), digest);
  printf("library: %s\nsha256: %s\n", session_library(), digest);
  printf("version: not exported by the library; its functions are those of LiteRT 2.3.0\n");
  printf("kernels: %s\nthreads: %zu\n", job->request.kernels, job->request.threads);
  for (size_t i = 0; i < job->session.inputs + job->session.outputs; i++) {
    bool is_input = i < job->session.inputs;
    const struct tensor *t = is_input ? input_of(job, i) : output_of(job, i - job->session.inputs);
    shape_text(shape, t->dims, t->rank);
    printf("%s: %s %s %s\n", is_input ? "input" : "output", DTYPE[t->dtype].name, shape, t->name);
  }
  return OK;
}

int main(int count, char **words) {
  static struct job job;
  job.request = parse(count, words);
  open_job(&job);
  int code = command_of(job.request.command)(&job);
  if (fflush(stdout) || ferror(stdout)) fail(LACKING, "stdout: cannot be written");
  _Exit(code); /* no destructors of the runtime: they take longer than a small inference */
}
