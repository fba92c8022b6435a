// Counts the blocks of JPEGs' sequential scans: Huffman decoding (ITU-T T.81, F.2.2) that makes no pixels. A scan that is cut
// off or damaged has fewer blocks than its picture; the GPU's JPEG hardware does not tell.
//
// Scans are cut into pieces, a thread for each (Klein and Wiseman, Parallel Huffman decoding with applications to JPEG files,
// 2003; Weissenberger and Schmidt, Massively parallel Huffman decoding on GPUs, 2018). A thread does not know where in a symbol,
// and in which block, its piece begins, so it guesses, some bytes before: codes synchronise themselves (`entropy_guess`). Then
// every piece whose start is not where the one before it ended is decoded again, until all are (`entropy_settle`).
// entropy.ptx beside this file is what runs; `make ptx` compiles it anew, and a test checks that it was.

enum { DC_TABLES = 2, TABLES = 4, LONGEST = 16, COEFFICIENTS = 64 };

// One scan; entropy_kernel.py has the same record.
struct Scan {
    unsigned long long offset;  // of its compressed data among all bytes, a multiple of 4
    unsigned length;            // of its data, in bytes; what follows an end marker in them is not read
    unsigned needed;            // blocks of its picture
    unsigned interval;          // blocks from one restart marker to the next, at most `needed`
    unsigned unit;              // blocks from which on the tables repeat
    unsigned tables;            // two bits for each block of a unit, the first one's are lowest: its DC table, its AC table
    unsigned flat;              // bytes after which the data of flat units repeat
    unsigned pieces;            // that its data are cut into, at least 1
    unsigned first_piece;       // the place of the first one's `Piece` among those of all scans
    unsigned char counts[TABLES][LONGEST];  // codes of each length (BITS, B.2.4.2): of both DC tables, then both AC tables
    unsigned char values[TABLES][256];      // of the codes in order (HUFFVAL)
};

enum {
    GUESS_THREADS = 64,  // of a block of entropy_guess: few, so that a lone scan is spread over many multiprocessors
    THREADS = 512,       // of the one block that a scan has in entropy_settle
    LOOK_BITS = 9,  // codes up to this length are looked up
    WARM_UP = 96,   // bytes before a piece where its thread begins to decode
    LEAST_ROUNDS = 4,
    SAME_BYTES = 16,  // that make a flat area likely
};
#define OVER 0xFFFFFFFFu  // the place of a state behind the last bit

#ifdef __CUDACC__
#define EACH(i, first, end) for (int i = (first) + (int)threadIdx.x; i < (end); i += (int)blockDim.x)
#define ONE if (threadIdx.x == 0)
#define SYNC __syncthreads()
#define SHARED __shared__
#else  // a C++ compiler, in the tests: one thread does the work of all
#define EACH(i, first, end) for (int i = (first); i < (end); ++i)
#define ONE
#define SYNC
#define SHARED static
#endif

// What codes mean. A step is what a code does together with the bits of its coefficient behind it: the bits that both take,
// and times 256 the coefficients that are done then; 64 of these end a block.
struct Codes {
    unsigned short steps[TABLES][1 << LOOK_BITS];  // by the next bits; 0: a longer code, or none
    int first_code[TABLES][LONGEST + 1];           // the smallest code of each length
    unsigned ends[TABLES][LONGEST + 1];            // the end of those of each length, of 16 bits
    int first_value[TABLES][LONGEST + 1];          // the place of its value
};

// Where a thread stands: all that the rest of its work depends on.
struct State {
    unsigned at;     // of the next bit, stuffed bytes counted: 8 times its byte's place, and its place in there
    unsigned where;  // block of the unit times 64, and coefficient
};

// What a piece has.
struct Tally {
    unsigned head;      // blocks that end in it before its first restart marker, if there is one
    unsigned blocks;    // that end after the last one
    unsigned restarts;  // markers
    unsigned first;     // number of the first one, 0…7
    unsigned broken;    // 1: then something that no encoder writes; nothing behind it counts
};

// What is known of a piece, or of several that follow each other.
struct Piece {
    State start, end;
    Tally tally;
};

// A piece, and what entropy_settle notes of it.
struct Noted {
    Piece piece;
    unsigned stale;  // 1: its start is another than it was decoded from
    unsigned again;  // of the first ones: numbers of the pieces to decode again
};

// The data from `next` on are not read yet; the upper `bits` bits of the window are the next ones, and zeros follow.
struct Reader {
    const unsigned char* data;
    unsigned length, next;
    int bits;
    unsigned long long window;
};

// Reads on until there are 32 bits, or none before the next marker or the end.
__device__ static void fill(Reader& reader) {
    while (reader.bits < 32) {
        if (reader.next % 4 == 0 && reader.next + 4 <= reader.length) {
            unsigned word = *(const unsigned*)(reader.data + reader.next), gaps = ~word;
            if (((gaps - 0x01010101u) & word & 0x80808080u) == 0) {  // no byte of it is 0xFF
                word = word << 24 | (word & 0xFF00) << 8 | (word >> 8 & 0xFF00) | word >> 24;
                reader.window |= (unsigned long long)word << (32 - reader.bits);
                reader.bits += 32;
                reader.next += 4;
                return;
            }
        }
        if (reader.next >= reader.length) return;
        unsigned long long byte = reader.data[reader.next];
        bool stuffed = byte == 0xFF;  // a zero follows, or it is a marker
        if (stuffed && (reader.next + 1 >= reader.length || reader.data[reader.next + 1] != 0)) return;
        reader.window |= byte << (56 - reader.bits);
        reader.bits += 8;
        reader.next += stuffed ? 2 : 1;
    }
}

__device__ static void take(Reader& reader, int bits) {
    reader.window <<= bits;
    reader.bits -= bits;
}

__device__ static Reader open_at(const unsigned char* data, unsigned length, unsigned at) {
    Reader reader = {data, length, at / 8, 0, 0};
    fill(reader);
    take(reader, at % 8);
    return reader;
}

// Place of the next bit, as in `State`.
__device__ static unsigned place(const Reader& reader) {
    unsigned at = reader.next;
    int bits = reader.bits;
    for (; bits > 0; bits -= 8)
        at -= at >= 2 && reader.data[at - 1] == 0 && reader.data[at - 2] == 0xFF ? 2 : 1;
    return at * 8 - bits;
}

// Goes behind the restart marker that comes next, and returns its number, 0…7; -1: there is none.
__device__ static int pass_restart(Reader& reader) {
    unsigned at = reader.next;
    if (at + 2 > reader.length || reader.data[at] != 0xFF || (reader.data[at + 1] & 0xF8) != 0xD0) return -1;
    reader.next += 2;
    reader.window = 0;  // bits before a marker are padding
    reader.bits = 0;
    return reader.data[at + 1] & 7;
}

__device__ static unsigned step_of(int table, int length, int value) {
    int bits = value & 15, run = value >> 4;  // F.1.2.2.1
    int done = table < DC_TABLES ? 1 : bits != 0 ? run + 1 : run == 15 ? 16 : COEFFICIENTS;
    return (unsigned)(length + bits) | (unsigned)done << 8;
}

// Step of the code of `shortest`…`longest` bits that begins 16 bits; 0: none does.
__device__ static unsigned find_step(
    const Scan& scan, const Codes& codes, int table, unsigned next, int shortest, int longest) {
    // No branches: the ends are read at once. Codes of a length come behind all shorter ones.
    int length = shortest;
    for (int i = shortest; i < longest; ++i) length += next >= codes.ends[table][i];
    int rank = (int)(next >> (LONGEST - length)) - codes.first_code[table][length];
    if (next >= codes.ends[table][length] || rank < 0) return 0;
    return step_of(table, length, scan.values[table][codes.first_value[table][length] + rank]);
}

// `padded`: at most padding was between the last block and the marker.
__device__ static void count_restart(Tally& tally, unsigned number, bool padded, unsigned interval) {
    if (tally.broken) return;
    if (!padded) {
        tally.broken = 1;
        return;
    }
    if (tally.restarts == 0) {
        tally.head = tally.blocks;
        tally.first = number;
    } else if (tally.blocks != interval || number != ((tally.first + tally.restarts) & 7)) {
        tally.broken = 1;
        return;
    }
    ++tally.restarts;
    tally.blocks = 0;
}

// Decodes from a state until the byte `end` is reached; returns the state there. After something that no encoder writes it
// goes on somehow: a guessed start leads there, too.
__device__ static State decode(
    const Scan& scan, const Codes& codes, const unsigned char* data, State state, unsigned end, Tally& tally) {
    Tally found = {0, 0, 0, 0, 0};
    if (state.at < end * 8) {
        Reader reader = open_at(data, scan.length, state.at);
        unsigned block = state.where / COEFFICIENTS, coefficient = state.where % COEFFICIENTS;
        while (reader.next < end || place(reader) < end * 8) {
            fill(reader);
            unsigned next = (unsigned)(reader.window >> (64 - LONGEST)), pair = scan.tables >> (2 * block);
            int table = coefficient == 0 ? pair & 1 : DC_TABLES + (pair >> 1 & 1);
            unsigned step = codes.steps[table][next >> (LONGEST - LOOK_BITS)];
            if (step == 0) step = find_step(scan, codes, table, next, LOOK_BITS + 1, LONGEST);
            bool bad = step == 0;
            if (bad) step = LONGEST | (coefficient == 0 ? 1 : COEFFICIENTS) << 8;
            int bits = step & 255, done = step >> 8;
            if (bits > reader.bits) {  // its last bits come behind a marker, or behind the end
                bool padded = coefficient == 0 && reader.bits < 8;
                int number = pass_restart(reader);
                if (number < 0) {
                    tally = found;
                    return {OVER, 0};
                }
                count_restart(found, number, padded, scan.interval);
                block = coefficient = 0;
                continue;
            }
            take(reader, bits);
            coefficient += done;
            if (coefficient >= COEFFICIENTS) {
                bad |= coefficient > COEFFICIENTS && done < COEFFICIENTS;  // a run beyond the block's end
                if (!bad && !found.broken) ++found.blocks;
                coefficient = 0;
                if (++block == scan.unit) block = 0;
            }
            if (bad) found.broken = 1;
        }
        state = {place(reader), block * COEFFICIENTS + coefficient};
    }
    tally = found;
    return state;
}

__device__ static void make_codes(const Scan& scan, Codes& codes) {
    EACH(table, 0, TABLES) {
        int code = 0, value = 0;
        for (int length = 1; length <= LONGEST; ++length) {  // C.2
            codes.first_code[table][length] = code;
            codes.first_value[table][length] = value;
            codes.ends[table][length] = (unsigned)(code + scan.counts[table][length - 1]) << (LONGEST - length);
            code = (code + scan.counts[table][length - 1]) * 2;
            value += scan.counts[table][length - 1];
        }
    }
    SYNC;
    EACH(i, 0, TABLES << LOOK_BITS) {
        int table = i >> LOOK_BITS, bits = i & ((1 << LOOK_BITS) - 1);
        codes.steps[table][bits] =
            (unsigned short)find_step(scan, codes, table, bits << (LONGEST - LOOK_BITS), 1, LOOK_BITS);
    }
    SYNC;
}

// Where a thread begins that is to begin at a byte: behind it if it belongs to the byte before.
__device__ static unsigned begin_of(const unsigned char* data, unsigned length, unsigned at) {
    return at > 0 && at < length && data[at - 1] == 0xFF ? at + 1 : at;
}

__device__ static bool differ(const State& one, const State& other) {
    return one.at != other.at || one.where != other.where;
}

// The state near another byte, if the bytes are the same there and all between is one flat area. A guess may stay wrong in such
// an area to its end, because the codes repeat. OVER: the bytes are others.
__device__ static State repeat(const Scan& scan, const unsigned char* data, State state, unsigned begin) {
    unsigned from = state.at / 8;
    if (state.at == OVER || from >= begin) return {OVER, 0};
    unsigned at = from + (begin - from + scan.flat - 1) / scan.flat * scan.flat;
    if (at + SAME_BYTES > scan.length) return {OVER, 0};
    for (unsigned i = 0; i < SAME_BYTES; ++i)
        if (data[at + i] != data[from + i]) return {OVER, 0};
    return {at * 8 + state.at % 8, state.where};
}

__device__ static void break_off(Tally& tally, unsigned blocks) {
    tally.blocks = blocks;
    tally.broken = 1;
}

// Adds the piece behind to a piece: a gap between them, or an interval that is not whole, breaks them off.
__device__ static void join(Piece& piece, const Piece& next, unsigned interval) {
    Tally &tally = piece.tally, behind = next.tally;
    if (tally.broken) return;
    if (differ(next.start, piece.end)) return break_off(tally, tally.blocks);
    if (behind.restarts == 0) {
        tally.blocks += behind.blocks;
    } else {
        unsigned blocks = tally.blocks + behind.head;  // of the interval that ends at its first marker
        if (tally.restarts == 0) {
            tally.head = blocks;
            tally.first = behind.first;
        } else if (blocks != interval || behind.first != ((tally.first + tally.restarts) & 7)) {
            return break_off(tally, blocks);
        }
        tally.restarts += behind.restarts;
        tally.blocks = behind.blocks;
    }
    tally.broken = behind.broken;
    piece.end = next.end;
}

// Blocks of a whole scan before what breaks it off.
__device__ static unsigned count_blocks(const Scan& scan, const Tally& tally) {
    if (tally.restarts > 0 && (tally.head != scan.interval || tally.first != 0)) return min(tally.head, scan.interval);
    return min(tally.restarts * scan.interval + min(tally.blocks, scan.interval), scan.needed);
}

__device__ static void open_scan(const Scan& given, Scan& scan, Codes& codes) {
    EACH(i, 0, (int)(sizeof(Scan) / sizeof(unsigned))) ((unsigned*)&scan)[i] = ((const unsigned*)&given)[i];
    SYNC;
    make_codes(scan, codes);
}

// Bytes of each piece, the last one's may be fewer.
__device__ static unsigned size_of(const Scan& scan) { return scan.length / scan.pieces + 1; }

// Decodes each piece from where it likely begins. A scan has the blocks (0…, its place).
extern "C" __global__ void entropy_guess(const Scan* scans, const unsigned char* bytes, Noted* noted) {
    SHARED Scan scan;
    SHARED Codes codes;
    const Scan& given = scans[blockIdx.y];
    if (blockIdx.x * GUESS_THREADS >= given.pieces) return;
    open_scan(given, scan, codes);
    const unsigned char* data = bytes + scan.offset;
    unsigned size = size_of(scan), from = blockIdx.x * GUESS_THREADS;

    EACH(i, (int)from, (int)min(from + GUESS_THREADS, scan.pieces)) {
        unsigned begin = min(i * size, scan.length);
        Piece piece;
        piece.start = {begin_of(data, scan.length, begin > WARM_UP ? begin - WARM_UP : 0) * 8, 0};
        if (i > 0) piece.start = decode(scan, codes, data, piece.start, begin, piece.tally);
        piece.end = decode(scan, codes, data, piece.start, min(begin + size, scan.length), piece.tally);
        noted[scan.first_piece + i] = {piece, 0, 0};
    }
}

// Writes the number of blocks found in each scan, at most those that it needs. A scan can be made such that no thread
// synchronises: decoding takes as long as with one thread then. So threads decode about `most_again` bytes again, and then only
// the blocks count that are surely right.
extern "C" __global__ void entropy_settle(
    const Scan* scans, const unsigned char* bytes, Noted* noted, int* blocks, unsigned most_again) {
    SHARED Scan scan;
    SHARED Codes codes;
    SHARED Piece runs[THREADS];  // of pieces that follow each other
    SHARED int front;            // the first piece whose start was wrong
    SHARED int count;            // of pieces to decode again
    open_scan(scans[blockIdx.x], scan, codes);
    const unsigned char* data = bytes + scan.offset;
    int pieces = (int)scan.pieces;
    unsigned size = size_of(scan);
    noted += scan.first_piece;

    for (unsigned round = 0; round < LEAST_ROUNDS || round * size < most_again; ++round) {
        ONE {
            front = pieces;
            count = 0;
        }
        SYNC;
        EACH(i, 1, pieces) {
            const State& before = noted[i - 1].piece.end;
            noted[i].stale = differ(noted[i].piece.start, before);
            if (noted[i].stale) {
                noted[i].piece.start = before;
                atomicMin(&front, i);
            }
        }
        SYNC;
        if (front == pieces) break;
        if (round % 2 == 1) {
            EACH(i, front + 1, pieces) {
                State guess = repeat(scan, data, noted[front].piece.start, i * size);
                if (guess.at != OVER) {
                    noted[i].piece.start = guess;
                    noted[i].stale = 1;
                }
            }
            SYNC;
        }
        // Together, because threads of a warp wait for those that decode.
        EACH(i, 1, pieces) {
            if (noted[i].stale) noted[atomicAdd(&count, 1)].again = i;
        }
        SYNC;
        EACH(n, 0, count) {
            unsigned i = noted[n].again;
            Piece piece = noted[i].piece;
            piece.end = decode(scan, codes, data, piece.start, min((i + 1) * size, scan.length), piece.tally);
            noted[i].piece = piece;
        }
        SYNC;
    }

    int each = (pieces + THREADS - 1) / THREADS, parts = (pieces + each - 1) / each;
    EACH(run, 0, parts) {
        Piece joined = noted[run * each].piece;
        for (int i = run * each + 1; i < min((run + 1) * each, pieces); ++i) join(joined, noted[i].piece, scan.interval);
        runs[run] = joined;
    }
    SYNC;
    ONE {
        for (int run = 1; run < parts; ++run) join(runs[0], runs[run], scan.interval);
        blocks[blockIdx.x] = (int)count_blocks(scan, runs[0].tally);
    }
}
