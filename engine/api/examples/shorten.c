/* A stage in C: cuts a row's `text` at a number of bytes. A whole plugin, with nothing but the header.
 *
 *     cc -shared -fPIC -O2 -I engine/api/include -o libshorten.so engine/api/examples/shorten.c
 *
 * In a pipeline, from its folder:
 *
 *     plugins = ["libshorten.so"]
 *
 *     [stage.short]
 *     type = "shorten"
 *     from = "rows"
 *     most = 20
 *
 * It speaks JSON (OBVERT_JSON), so records come and go as texts. To keep the example free of a JSON library it finds the field
 * by hand: the first `"text"` of a row that is written as the program writes it, without spaces.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "obvert.h"

struct shorten {
    size_t most;
};

static obvert_bytes bytes_of(const char *text) {
    obvert_bytes bytes = {(const uint8_t *)text, strlen(text)};
    return bytes;
}

/* Where `word` begins in the bytes, or -1. */
static long find(obvert_bytes in, const char *word) {
    size_t length = strlen(word);
    for (size_t at = 0; at + length <= in.len; at++)
        if (memcmp(in.ptr + at, word, length) == 0) return (long)at;
    return -1;
}

static void *create(const obvert_plugin *plugin, const obvert_host *host, obvert_bytes settings, void *call) {
    (void)plugin;
    static const char key[] = "\"most\":";
    long at = find(settings, key);
    struct shorten *stage = malloc(sizeof *stage);
    if (at < 0 || !stage) {
        host->fail(call, 0, bytes_of("`most` is missing"));
        free(stage);
        return NULL;
    }
    /* The settings fit the schema: a number is here, and a `}` or `,` ends it. */
    stage->most = strtoul((const char *)settings.ptr + at + sizeof key - 1, NULL, 10);
    return stage;
}

/* One row: everything up to `most` bytes of the text, and everything behind its closing quote. */
static void shorten(const struct shorten *stage, const obvert_host *host, void *call, uint64_t item, obvert_bytes row) {
    static const char key[] = "\"text\":\"";
    long found = find(row, key);
    if (found < 0) {
        host->fail(call, item, bytes_of("the row has no `text`"));
        return;
    }
    size_t start = (size_t)found + sizeof key - 1, end = start, cut;
    while (end < row.len && row.ptr[end] != '"') end += row.ptr[end] == '\\' ? 2 : 1;
    if (end >= row.len) {
        host->fail(call, item, bytes_of("the row's `text` has no end"));
        return;
    }
    for (cut = start; cut < end;) {
        size_t next = cut + (row.ptr[cut] != '\\' ? 1 : row.ptr[cut + 1] == 'u' ? 6 : 2); /* Nor within an escape. */
        while (next < end && (row.ptr[next] & 0xc0) == 0x80) next++; /* Never within a character. */
        if (next - start > stage->most) break;
        cut = next;
    }
    uint8_t *made = malloc(row.len);
    if (!made) {
        host->fail(call, item, bytes_of("out of memory"));
        return;
    }
    memcpy(made, row.ptr, cut);
    memcpy(made + cut, row.ptr + end, row.len - end);
    obvert_bytes record = {made, cut + row.len - end};
    host->emit(call, item, record);
    free(made);
}

static int32_t process(void *instance, const obvert_host *host, void *call, obvert_bytes batch) {
    obvert_reader items = {batch};
    obvert_bytes payload, key, row;
    uint8_t operation;
    uint32_t count, records;
    if (!obvert_read_batch(&items, OBVERT_CODEC_JSON, &operation, &count) || operation != OBVERT_RUN) {
        host->fail(call, 0, bytes_of("not a batch of rows"));
        return 1;
    }
    for (uint32_t item = 0; item < count; item++) {
        if (!obvert_read_item(&items, &payload)) return 1;
        obvert_reader run = {payload};
        if (obvert_read_item(&run, &key) && obvert_read_u32(&run, &records) && records == 1 && obvert_read_item(&run, &row))
            shorten(instance, host, call, item, row);
        else
            host->fail(call, item, bytes_of("not one row"));
    }
    return 0;
}

static const char MANIFEST[] =
    "{\"name\": \"shorten\", \"version\": \"1.0.0\", \"kind\": \"map\", \"input\": \"Json\", \"with\": null, \"output\": \"Json\","
    " \"settings\": {\"type\": \"object\", \"properties\": {\"most\": {\"type\": \"integer\", \"minimum\": 1}},"
    " \"required\": [\"most\"], \"additionalProperties\": false}}";

static const obvert_plugin PLUGIN = {
    .size = sizeof(obvert_plugin),
    .major = OBVERT_MAJOR,
    .minor = OBVERT_MINOR,
    .flags = OBVERT_UNWINDS | OBVERT_JSON,
    .manifest = {(const uint8_t *)MANIFEST, sizeof MANIFEST - 1},
    .create = create,
    .process = process,
    .destroy = free,
};

const obvert_plugin *obvert_plugin_v1(uint32_t index) {
    return index == 0 ? &PLUGIN : NULL;
}
