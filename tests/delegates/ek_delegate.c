/* A small external delegate for edgekit's tests: takes ADD and MUL of float32 and of int8, whose
 * integers are those of TFLite's own kernels.
 *
 * Options: max_nodes=N takes no more than N ops, fail=create|prepare|invoke fails there,
 * log=FILE gets one line of JSON when the delegate is destroyed. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tflite_abi.h"

#define EXPORT __attribute__((visibility("default")))
#define MOST 512

typedef struct {
    int max_nodes, nodes, partitions, invokes;
    char fail[16], log[256];
} Settings;
typedef struct { int kind, activation, a, b, out; } Op;
typedef struct {
    Settings *settings;
    int count;
    Op ops[MOST];
    void *inside[MOST]; /* What an op gives to the next of ours alone has no memory of TFLite's. */
} Partition;
typedef struct { int32_t multiplier; int shift; } Factor;

/* A real factor as TFLite has it: 31 bits and a power of two. */
static Factor factor(double real) {
    Factor made = {0, 0};
    if (real == 0) return made;
    int64_t bits = llround(frexp(real, &made.shift) * (1LL << 31));
    if (bits == 1LL << 31) { bits /= 2; made.shift++; }
    made.multiplier = (int32_t)bits;
    return made;
}

/* Rounds twice, as TFLite's MultiplyByQuantizedMultiplier does. */
static int32_t scaled(int32_t value, Factor by) {
    int left = by.shift > 0 ? by.shift : 0, right = by.shift > 0 ? 0 : -by.shift;
    int64_t product = (int64_t)(value * (1 << left)) * by.multiplier;
    int64_t nudge = product >= 0 ? 1LL << 30 : 1 - (1LL << 30);
    int32_t high = (int32_t)((product + nudge) / (1LL << 31));
    int32_t mask = (int32_t)((1LL << right) - 1), rest = high & mask;
    return (high >> right) + (rest > (mask >> 1) + (high < 0));
}

static int clamp(int value, int low, int high) {
    return value < low ? low : value > high ? high : value;
}

static void in_float(const Op *op, const float *a, const float *b, float *out, size_t count) {
    for (size_t i = 0; i < count; i++) {
        float y = op->kind == ADD ? a[i] + b[i] : a[i] * b[i];
        if (op->activation != NONE && y < 0) y = 0;
        if (op->activation == RELU6 && y > 6) y = 6;
        out[i] = y;
    }
}

static void in_int8(const Op *op, const Tensor *tensors, const int8_t *a, const int8_t *b,
                    int8_t *out) {
    Quantization qa = tensors[op->a].params, qb = tensors[op->b].params, q = tensors[op->out].params;
    float sa = qa.scale, sb = qb.scale, so = q.scale;
    int zero = q.zero_point, low = -128, high = 127;
    if (op->activation != NONE) low = clamp(zero, -128, 127);
    if (op->activation == RELU6) high = clamp(zero + (int)lroundf(6 / so), -128, 127);
    double twice = 2 * fmax(sa, sb);
    Factor fa = factor(sa / twice), fb = factor(sb / twice);
    Factor fo = factor(op->kind == ADD ? twice / ((1 << 20) * (double)so) : (double)sa * sb / so);
    for (size_t i = 0; i < tensors[op->out].bytes; i++) {
        int x = a[i] - qa.zero_point, y = b[i] - qb.zero_point;
        int sum = op->kind == ADD ? scaled(x * (1 << 20), fa) + scaled(y * (1 << 20), fb) : x * y;
        out[i] = (int8_t)clamp(scaled(sum, fo) + zero, low, high);
    }
}

static void *init(Context *context, const char *buffer, size_t length) {
    const DelegateParams *params = (const void *)buffer;
    Partition *own = calloc(1, sizeof *own);
    (void)length;
    own->settings = params->delegate->data;
    own->settings->partitions++;
    for (int i = 0; i < params->nodes_to_replace->size && i < MOST; i++) {
        Node *node;
        Registration *kernel;
        context->GetNodeAndRegistration(context, params->nodes_to_replace->data[i], &node, &kernel);
        int activation = node->builtin_data ? *(int *)node->builtin_data : NONE;
        int out = node->outputs->data[0], outside = 0;
        for (int j = 0; j < params->output_tensors->size; j++)
            outside |= params->output_tensors->data[j] == out;
        if (!outside) own->inside[own->count] = malloc(context->tensors[out].bytes);
        own->ops[own->count++] = (Op){kernel->builtin_code, activation, node->inputs->data[0],
                                      node->inputs->data[1], out};
    }
    return own;
}

static void release(Context *context, void *buffer) {
    Partition *own = buffer;
    (void)context;
    for (int i = 0; i < own->count; i++) free(own->inside[i]);
    free(own);
}

static void *at(const Partition *own, const Context *context, int tensor) {
    for (int i = 0; i < own->count; i++)
        if (own->ops[i].out == tensor && own->inside[i]) return own->inside[i];
    return context->tensors[tensor].data.raw;
}

static Status fails(Context *context, const Partition *own, const char *at) {
    if (strcmp(own->settings->fail, at)) return OK;
    context->ReportError(context, "ek_delegate: asked to fail at %s", at);
    return ERROR;
}

static Status prepare(Context *context, Node *node) {
    return fails(context, node->user_data, "prepare");
}

static Status invoke(Context *context, Node *node) {
    Partition *own = node->user_data;
    own->settings->invokes++;
    for (int i = 0; i < own->count; i++) {
        const Op *op = &own->ops[i];
        void *a = at(own, context, op->a), *b = at(own, context, op->b);
        void *out = at(own, context, op->out);
        const Tensor *made = &context->tensors[op->out];
        if (made->type == FLOAT32) in_float(op, a, b, out, made->bytes / sizeof(float));
        else in_int8(op, context->tensors, a, b, out);
    }
    return fails(context, own, "invoke");
}

/* Whether an op is one of ours: no broadcast, one dtype, an activation that we know. */
static bool takes(const Context *context, const Node *node, const Registration *kernel) {
    if ((kernel->builtin_code != ADD && kernel->builtin_code != MUL) || node->inputs->size != 2)
        return false;
    const Tensor *a = &context->tensors[node->inputs->data[0]];
    const Tensor *b = &context->tensors[node->inputs->data[1]];
    const Tensor *out = &context->tensors[node->outputs->data[0]];
    int activation = node->builtin_data ? *(int *)node->builtin_data : NONE;
    bool same = a->type == out->type && b->type == out->type && a->bytes == out->bytes &&
                b->bytes == out->bytes && (out->type == FLOAT32 || out->type == INT8);
    return same && (activation == NONE || activation == RELU || activation == RELU6);
}

static Status partition(Context *context, Delegate *delegate) {
    Settings *settings = delegate->data;
    IntArray *plan, *chosen;
    if (context->GetExecutionPlan(context, &plan)) return ERROR;
    chosen = calloc(plan->size + 1, sizeof(int));
    for (int i = 0; i < plan->size && chosen->size < MOST; i++) {
        Node *node;
        Registration *kernel;
        context->GetNodeAndRegistration(context, plan->data[i], &node, &kernel);
        bool room = settings->max_nodes < 0 || chosen->size < settings->max_nodes;
        if (room && takes(context, node, kernel)) chosen->data[chosen->size++] = plan->data[i];
    }
    settings->nodes = chosen->size;
    Registration own = {.init = init, .free = release, .prepare = prepare, .invoke = invoke,
                        .custom_name = "EdgekitDelegate", .version = 1};
    Status status = context->ReplaceNodeSubsetsWithDelegateKernels(context, own, chosen, delegate);
    free(chosen);
    return status;
}

static Delegate *refused(Settings *settings, void (*report)(const char *), const char *what,
                         const char *name) {
    char message[128];
    snprintf(message, sizeof message, "ek_delegate: %s%.60s", what, name);
    if (report) report(message);
    free(settings);
    return NULL;
}

EXPORT Delegate *tflite_plugin_create_delegate(char **keys, char **values, size_t count,
                                               void (*report)(const char *)) {
    Settings *settings = calloc(1, sizeof *settings);
    settings->max_nodes = -1;
    for (size_t i = 0; i < count; i++) {
        if (!strcmp(keys[i], "max_nodes")) settings->max_nodes = atoi(values[i]);
        else if (!strcmp(keys[i], "fail")) strncpy(settings->fail, values[i], 15);
        else if (!strcmp(keys[i], "log")) strncpy(settings->log, values[i], 255);
        else return refused(settings, report, "unknown option ", keys[i]);
    }
    if (!strcmp(settings->fail, "create"))
        return refused(settings, report, "asked to fail at ", "create");
    Delegate *made = calloc(1, sizeof *made);
    made->data = settings;
    made->Prepare = partition;
    return made;
}

EXPORT void tflite_plugin_destroy_delegate(Delegate *delegate) {
    if (!delegate) return;
    Settings *settings = delegate->data;
    FILE *file = settings->log[0] ? fopen(settings->log, "w") : NULL;
    if (file) {
        fprintf(file, "{\"nodes\": %d, \"partitions\": %d, \"invokes\": %d}\n", settings->nodes,
                settings->partitions, settings->invokes);
        fclose(file);
    }
    free(settings);
    free(delegate);
}
