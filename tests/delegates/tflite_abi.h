/* What an external delegate of TFLite needs of its C interface, declared by hand: no package ships
 * the headers. Only function pointers inside TfLiteContext are called, so nothing is linked. The
 * layout was compared at run time with ai-edge-litert 2.3.0. */
#ifndef TFLITE_ABI_H
#define TFLITE_ABI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum { OK = 0, ERROR = 1 } Status;
enum { FLOAT32 = 1, INT8 = 9 };                   /* TfLiteType */
enum { ADD = 0, MUL = 18 };                       /* builtin operators */
enum { NONE = 0, RELU = 1, RELU6 = 3 };           /* TfLiteFusedActivation */

typedef struct { int size; int data[]; } IntArray;
typedef struct { float scale; int32_t zero_point; } Quantization;
typedef struct Context Context;
typedef struct Delegate Delegate;

typedef struct {
    int type;
    union { void *raw; int8_t *i8; float *f; } data;
    IntArray *dims;
    Quantization params;
    int allocation_type;
    size_t bytes;
    const void *allocation;
    const char *name;
    Delegate *delegate;
    int buffer_handle;
    bool data_is_stale, is_variable;
    struct { int type; void *params; } quantization;
    void *sparsity;
    const IntArray *dims_signature;
} Tensor;

typedef struct {
    IntArray *inputs, *outputs, *intermediates, *temporaries;
    void *user_data, *builtin_data;
    const void *custom_initial_data;
    int custom_initial_data_size;
    Delegate *delegate;
    bool might_have_side_effect;
} Node;

typedef struct {
    void *(*init)(Context *, const char *, size_t);
    void (*free)(Context *, void *);
    Status (*prepare)(Context *, Node *);
    Status (*invoke)(Context *, Node *);
    const char *(*profiling_string)(const Context *, const Node *);
    int32_t builtin_code;
    const char *custom_name;
    int version;
    void *registration_external;
    void *(*async_kernel)(Context *, Node *);
    uint64_t inplace_operator;
} Registration;

struct Context {
    size_t tensors_size;
    Status (*GetExecutionPlan)(Context *, IntArray **);
    Tensor *tensors;
    void *impl;
    Status (*ResizeTensor)(Context *, Tensor *, IntArray *);
    void (*ReportError)(Context *, const char *, ...);
    Status (*AddTensors)(Context *, int, int *);
    Status (*GetNodeAndRegistration)(Context *, int, Node **, Registration **);
    Status (*ReplaceNodeSubsetsWithDelegateKernels)(Context *, Registration, const IntArray *,
                                                    Delegate *);
    /* More follows, which no delegate of ours touches. */
};

struct Delegate {
    void *data;
    Status (*Prepare)(Context *, Delegate *);
    Status (*CopyFromBufferHandle)(Context *, Delegate *, int, Tensor *);
    Status (*CopyToBufferHandle)(Context *, Delegate *, int, Tensor *);
    void (*FreeBufferHandle)(Context *, Delegate *, int *);
    int64_t flags;
    void *opaque_delegate_builder;
};

typedef struct {
    Delegate *delegate;
    IntArray *nodes_to_replace, *input_tensors, *output_tensors;
} DelegateParams;

#endif
