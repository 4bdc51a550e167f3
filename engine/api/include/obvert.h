/* The plugin border, version 1: what a library of stages exports, and what the program hands it.
 *
 * Frozen. Structs begin with their size and only ever grow at the end; a new field is optional, and both sides look at `size`
 * before they look at a field that the other one may not know. What is written here keeps its place, type and meaning for as
 * long as OBVERT_MAJOR is 1. `abi.rs` says the same in Rust; a test compares the two.
 *
 * Bytes are lent for the duration of a call: whoever wants to keep them copies. Nothing that one side has allocated is freed by
 * the other. No call unwinds or jumps out. A library is never unloaded.
 */
#ifndef OBVERT_H
#define OBVERT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define OBVERT_MAJOR 1u
#define OBVERT_MINOR 1u

/* Flags of a stage. */
#define OBVERT_UNWINDS 1u /* Always: nothing that goes wrong in it ends the process (in Rust: not built with panic=abort). */
#define OBVERT_JSON 2u    /* Its records are JSON texts: batches have OBVERT_CODEC_JSON, and so has what it emits. */

/* "OBV1", little-endian. */
#define OBVERT_MAGIC 0x3156424fu
#define OBVERT_CODEC_BINCODE 1u
#define OBVERT_CODEC_JSON 2u

/* What a batch asks for. A stage with OBVERT_JSON is asked for the first three only. */
#define OBVERT_RUN 0u      /* Handle each item: emit records, or make requests. */
#define OBVERT_KEY 1u      /* Emit the group's key of each record, and behind it the key of the side records that it looks up, if any. */
#define OBVERT_WITH_KEY 2u /* Emit the key of each side record. */
#define OBVERT_TO_JSON_IN 3u
#define OBVERT_TO_JSON_WITH 4u
#define OBVERT_TO_JSON_OUT 5u
#define OBVERT_FROM_JSON_IN 6u
#define OBVERT_FROM_JSON_WITH 7u
#define OBVERT_FROM_JSON_OUT 8u
#define OBVERT_CHAIN 9u

typedef struct obvert_bytes {
    const uint8_t *ptr; /* May be null where `len` is 0. */
    size_t len;
} obvert_bytes;

/* A record at the end of a chain. Bytes that are not there are null. */
typedef struct obvert_passed {
    obvert_bytes record;
    obvert_bytes key;   /* Where the chain leads to a group, its key. */
    obvert_bytes wants; /* The key of the side records that it looks up. */
} obvert_passed;

/* What the program hands to a library; lives as long as the process. `call` is the one of the present call of the stage, and
 * good on its thread and for its duration only. `item` is an item's index in the batch. */
typedef struct obvert_host {
    size_t size;
    uint32_t major, minor;
    void (*log)(void *call, uint32_t level, obvert_bytes message); /* Levels from 1 (error) to 5 (trace); `call` may be null. */
    /* Takes a record made of an item, or a key. Not 0: the item has failed, no more of it is wanted. */
    int32_t (*emit)(void *call, uint64_t item, obvert_bytes record);
    /* Takes a request: JSON {"model", "messages": [{"role", "content"}]}, and, where they are to be others than 0, 1, 1024 and none,
     * "sampling": {"temperature", "top_p", "max_tokens", "seed"}, "sample", "adapter", "schema". Not 0: as above. */
    int32_t (*request)(void *call, uint64_t item, obvert_bytes request);
    void (*fail)(void *call, uint64_t item, obvert_bytes reason);     /* Says why an item could not be handled. */
    void (*refuse)(void *call, uint64_t item);                        /* Chains: the item has to be run stage by stage. */
    void (*pass)(void *call, uint64_t item, const obvert_passed *record); /* Chains: takes a record made of an item. */
    /* Chains: takes how many records the first stage made of each item, then the second, and so on. */
    void (*made)(void *call, const uint32_t *counts, size_t length);
    /* Since revision 1: as `log`, about an item: the line stands there with the record's id. */
    void (*say)(void *call, uint64_t item, uint32_t level, obvert_bytes message);
} obvert_host;

/* One stage of a library; lives as long as the process. Functions may be called from several threads at once. */
typedef struct obvert_plugin {
    size_t size;
    uint32_t major, minor;
    uint64_t flags;
    /* JSON: {"name", "version", "kind": "map" | "group", "within_row", "input", "with": type | null, "output",
     * "settings": JSON schema of the settings, "examples": [{"settings", "records", "with", "replies", "made"}]}. */
    obvert_bytes manifest;
    /* Makes an instance of the stage that is so described, from settings in JSON. Null: it failed, and said why through `fail` (item 0). */
    void *(*create)(const struct obvert_plugin *plugin, const obvert_host *host, obvert_bytes settings, void *call);
    /* Handles a batch. Not 0: the batch itself was unusable, and the reason went through `fail` (item 0). */
    int32_t (*process)(void *instance, const obvert_host *host, void *call, obvert_bytes batch);
    /* Frees an instance. */
    void (*destroy)(void *instance);
    /* Handles a batch of records by several of the library's stages, one after the other: instances of maps, so many, and that
     * of the group that they lead to, or null. Not 0: it has to be done stage by stage. May be null. */
    int32_t (*chain)(void *const *maps, size_t count, void *group, const obvert_host *host, void *call, obvert_bytes batch);
} obvert_plugin;

/* The one symbol that a library exports: its stages by index, null past the last. */
const obvert_plugin *obvert_plugin_v1(uint32_t index);

/* Batches. Numbers are little-endian:
 *
 *     batch    magic u32 | codec u8 | operation u8 | reserved u16 | schema u64 | count u32 | count x item
 *     item     length u32 | payload
 *     payload  of OBVERT_RUN: key, an item | records | with records | replies; each of the three is a count u32 and its items
 *              of all others: one record
 *
 * A map has one record and no key. Replies are JSON, {"text", "prompt_tokens", "reply_tokens", "finished"}: the answers to all
 * that was requested for the item so far, in order. A run that requests nothing more is the last, and what it emits goes on. */
typedef struct obvert_reader {
    obvert_bytes left;
} obvert_reader;

static inline int obvert_read_u32(obvert_reader *reader, uint32_t *number) {
    const uint8_t *at = reader->left.ptr;
    if (reader->left.len < 4) return 0;
    *number = (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
    reader->left.ptr += 4;
    reader->left.len -= 4;
    return 1;
}

/* The next item, or 0 where the bytes end early. */
static inline int obvert_read_item(obvert_reader *reader, obvert_bytes *item) {
    uint32_t length;
    if (!obvert_read_u32(reader, &length) || length > reader->left.len) return 0;
    item->ptr = reader->left.ptr;
    item->len = length;
    reader->left.ptr += length;
    reader->left.len -= length;
    return 1;
}

/* A batch's operation and how many items follow, or 0 where it is no batch of this codec. */
static inline int obvert_read_batch(obvert_reader *reader, uint8_t codec, uint8_t *operation, uint32_t *count) {
    uint32_t magic, kind, schema[2];
    if (!obvert_read_u32(reader, &magic) || magic != OBVERT_MAGIC) return 0;
    if (!obvert_read_u32(reader, &kind) || (kind & 0xff) != codec) return 0;
    *operation = (uint8_t)(kind >> 8);
    return obvert_read_u32(reader, &schema[0]) && obvert_read_u32(reader, &schema[1]) && obvert_read_u32(reader, count);
}

#ifdef __cplusplus
}
#endif

#endif
