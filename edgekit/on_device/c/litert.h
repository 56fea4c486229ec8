/* The part of LiteRT's C API that the runner uses, declared by hand: no package ships the headers.

   The ABI is that of libLiteRt.so 2.3.0 (in the Python package ai-edge-litert 2.3.0). It moved
   between versions without a version symbol (LiteRtCreateModelFromFile took no environment before
   2.3.0), so a library without a function that came with 2.3.0 is refused in session.c. */
#ifndef EDGEKIT_LITERT_H
#define EDGEKIT_LITERT_H

#include <stddef.h>
#include <stdint.h>

#define LITERT_VERSION "2.3.0"
#define LITERT_MOST_DIMS 8

typedef void *Handle; /* environment, model, options, signature, tensor ...: all are opaque */

typedef struct {
  uint32_t rank_and_flag; /* rank in the low 7 bits, then whether there are strides */
  int32_t dims[LITERT_MOST_DIMS]; /* -1 for an open axis */
  uint32_t strides[LITERT_MOST_DIMS];
} LiteRtLayout;

typedef struct {
  int32_t element_type;
  LiteRtLayout layout;
} LiteRtRankedTensorType;

typedef struct { /* an option of the environment with an integer value */
  int32_t tag;
  int32_t padding;
  int32_t type;
  int32_t padding_of_value;
  int64_t value;
} LiteRtEnvOption;

_Static_assert(sizeof(LiteRtRankedTensorType) == 72, "LiteRT reads 72 bytes");
_Static_assert(offsetof(LiteRtEnvOption, value) == 16, "LiteRT reads the value at byte 16");

enum { LITERT_ANY_INT = 2, LITERT_ENV_ACCELERATORS = 24, LITERT_CPU = 1 };
enum { LITERT_READ = 0, LITERT_WRITE = 1 };
enum { LITERT_FLOAT32 = 1, LITERT_INT32 = 2, LITERT_UINT8 = 3, LITERT_INT64 = 4, LITERT_INT16 = 7,
       LITERT_INT8 = 9 };

/* Each function returns 0, or LiteRT's status number. F(name without "LiteRt", parameters) */
#define LITERT_FUNCTIONS(F)                                                                       \
  F(CreateEnvironment, (int options, const LiteRtEnvOption *, Handle *environment))               \
  F(CreateModelFromFile, (Handle environment, const char *path, Handle *model))                   \
  F(CreateOptions, (Handle *options))                                                             \
  F(SetOptionsHardwareAccelerators, (Handle options, int bits))                                   \
  F(CreateOpaqueOptions, (const char *name, void *payload, void (*release)(void *), Handle *made)) \
  F(AddOpaqueOptions, (Handle options, Handle opaque))                                            \
  F(CreateCompiledModel, (Handle environment, Handle model, Handle options, Handle *compiled))    \
  F(GetModelSignature, (Handle model, size_t index, Handle *signature))                           \
  F(GetSignatureSubgraph, (Handle signature, Handle *subgraph))                                   \
  F(GetNumSubgraphInputs, (Handle subgraph, size_t *count))                                       \
  F(GetNumSubgraphOutputs, (Handle subgraph, size_t *count))                                      \
  F(GetSubgraphInput, (Handle subgraph, size_t index, Handle *tensor))                            \
  F(GetSubgraphOutput, (Handle subgraph, size_t index, Handle *tensor))                           \
  F(GetNumSignatureInputs, (Handle signature, size_t *count))                                     \
  F(GetNumSignatureOutputs, (Handle signature, size_t *count))                                    \
  F(GetSignatureInputTensorByIndex, (Handle signature, size_t index, Handle *tensor))             \
  F(GetSignatureOutputTensorByIndex, (Handle signature, size_t index, Handle *tensor))            \
  F(GetSignatureInputName, (Handle signature, size_t index, const char **name))                   \
  F(GetSignatureOutputName, (Handle signature, size_t index, const char **name))                  \
  F(GetTensorName, (Handle tensor, const char **name))                                            \
  F(GetRankedTensorType, (Handle tensor, LiteRtRankedTensorType *))                               \
  F(GetCompiledModelInputBufferRequirements, (Handle, size_t signature, size_t, Handle *needs))   \
  F(GetCompiledModelOutputBufferRequirements, (Handle, size_t signature, size_t, Handle *needs))  \
  F(CreateManagedTensorBufferFromRequirements,                                                    \
    (Handle environment, const LiteRtRankedTensorType *, Handle needs, Handle *buffer))           \
  F(GetTensorBufferPackedSize, (Handle buffer, size_t *bytes))                                    \
  F(LockTensorBuffer, (Handle buffer, void **memory, int mode))                                   \
  F(UnlockTensorBuffer, (Handle buffer))                                                          \
  F(RunCompiledModel, (Handle compiled, size_t signature, size_t inputs, Handle *input_buffers,   \
                       size_t outputs, Handle *output_buffers))

#endif
