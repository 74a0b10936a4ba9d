# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False, nonecheck=False, freethreading_compatible=True
"""The loops of `trees`, compiled: one tree in preorder to streams and back, without the GIL.

`_tree_numpy.py` holds the same rules in NumPy and is the specification; tests compare the two byte
for byte. Floating point is element-wise and in a fixed order (built with -ffp-contract=off), so
a stream decodes to the same bits everywhere. Nothing is read or written outside the buffers
given: every stream is checked against its end, every tree against its node count.
"""

from libc.math cimport floor, rint
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset

NAME = "Cython"

cdef struct Node:
    int64_t left
    int64_t right
    int64_t feature
    double threshold
    double impurity
    int64_t samples
    double weight
    uint8_t missing
    uint8_t padding[7]

# The order of `streams.STREAMS`.
cdef enum:
    LEAVES
    ORDER
    FEATURE
    FEATURE_LARGE
    THRESHOLD
    THRESHOLD_RANK
    MISSING
    SAMPLES
    SAMPLES_LARGE
    WEIGHT
    WEIGHT_LARGE
    WEIGHT_PLAIN
    CLASS
    CLASS_LARGE
    COUNTS
    COUNTS_LARGE
    VALUE
    VALUE_RANK
    VALUE_RESIDUAL
    VALUE_RESIDUAL_LARGE
    IMPURITY
    IMPURITY_LEAF
    IMPURITY_LEAF_LARGE
    IMPURITY_INNER
    IMPURITY_INNER_LARGE
    RAW
    STREAMS

# The bits of `streams.Rule`.
cdef enum:
    R_PERMUTED = 1
    R_RAW = 2
    R_SAMPLES = 4
    R_WEIGHT_EQUAL = 8
    R_WEIGHT_WHOLE = 16
    R_COUNTS = 32
    R_WHOLE_SUMS = 64
    R_MEANS = 128
    R_STEPS = 256
    R_GINI = 512
    R_SQUARES = 1024
    R_SPREAD = 2048
    R_MISSING = 4096
    R_INFERENCE = 8192
    R_HAZARD = 16384

cdef int64_t MOST_WHOLE = 1 << 53
cdef int64_t MOST_STEPS = <int64_t>1 << 40
cdef int64_t SORTED_FEATURES = 4096
cdef uint64_t SIGN = <uint64_t>1 << 63
cdef uint64_t NAN_BITS = <uint64_t>0x7FF8000000000000
cdef uint64_t ONE_BITS = <uint64_t>0x3FF0000000000000

cdef struct Stream:
    uint8_t* data
    Py_ssize_t at
    Py_ssize_t end

cdef struct Tree:
    Node* nodes
    double* values
    int64_t n
    int64_t outputs
    int64_t classes
    int64_t features
    const int64_t* table_starts
    const uint64_t* table_thresholds
    const uint64_t* table_values
    int64_t table_features
    int64_t table_size
    int64_t* work  # memory to work in: threads that each allocate their own wait for each other
    int64_t work_left
    int64_t* last_ranks
    int64_t* leaves  # nodes, ascending; lists without a branch for each node halve the time
    int64_t* inners
    int64_t leaf_count
    int64_t inner_count
    Stream* streams
    int bad


cdef inline int64_t* reserve(Tree* t, int64_t count) noexcept nogil:
    cdef int64_t* found = t.work
    if count > t.work_left:
        return NULL
    t.work += count
    t.work_left -= count
    return found


# Numbers and their bits

cdef inline uint64_t bits_of(double x) noexcept nogil:
    cdef uint64_t b
    memcpy(&b, &x, 8)
    return b

cdef inline double from_bits(uint64_t b) noexcept nogil:
    cdef double x
    memcpy(&x, &b, 8)
    return x

cdef inline uint64_t zigzag(uint64_t d) noexcept nogil:
    return (d << 1) ^ (0 - (d >> 63))

cdef inline uint64_t unzigzag(uint64_t z) noexcept nogil:
    return (z >> 1) ^ (0 - (z & 1))

cdef inline uint64_t key(uint64_t b) noexcept nogil:
    """Bits of a double to an integer (two's complement) of the same order; its own inverse."""
    return b ^ ((0 - (b >> 63)) >> 1)

cdef inline uint64_t residual(double x, double predicted) noexcept nogil:
    if predicted != predicted:
        predicted = 0.0
    return zigzag(key(bits_of(x)) - key(bits_of(predicted)))

cdef inline double corrected(uint64_t z, double predicted) noexcept nogil:
    if predicted != predicted:
        predicted = 0.0
    return from_bits(key(unzigzag(z) + key(bits_of(predicted))))

cdef inline bint is_whole(double x) noexcept nogil:
    """Whether x is an integer from 0 (not -0.0) to 2**53."""
    return x >= 0.0 and x < 9007199254740992.0 and <double>(<int64_t>x) == x and not bits_of(x) >> 63

cdef inline double quarter_ulp(double x) noexcept nogil:
    cdef uint64_t exponent = (bits_of(x) >> 52) & 2047
    if exponent <= 54 or exponent == 2047:
        return 0.0
    return from_bits((exponent - 54) << 52)

cdef inline bint nearest(double x, int64_t* found) noexcept nogil:
    """The integer nearest to x, ties to even, where |x| < 2**53."""
    cdef double magic = 6755399441055744.0  # 1.5 * 2**52: the sum has no room for a fraction
    if x > -2251799813685248.0 and x < 2251799813685248.0:
        found[0] = <int64_t>((x + magic) - magic)
        return True
    if x > -9007199254740992.0 and x < 9007199254740992.0:
        found[0] = <int64_t>rint(x)
        return True
    return False


# Streams

cdef inline void put1(Tree* t, int which, uint8_t value) noexcept nogil:
    cdef Stream* s = &t.streams[which]
    s.data[s.at] = value
    s.at += 1

cdef inline void put8(Tree* t, int which, uint64_t value) noexcept nogil:
    cdef Stream* s = &t.streams[which]
    memcpy(s.data + s.at, &value, 8)
    s.at += 8

cdef inline void put4(Tree* t, int which, uint32_t value) noexcept nogil:
    cdef Stream* s = &t.streams[which]
    memcpy(s.data + s.at, &value, 4)
    s.at += 4

cdef inline void put(Tree* t, int which, uint64_t value) noexcept nogil:
    """An integer: one byte, or 255 and the whole in the stream of large ones."""
    if value < 255:
        put1(t, which, <uint8_t>value)
    else:
        put1(t, which, 255)
        put8(t, which + 1, value)

cdef inline uint8_t get1(Tree* t, int which) noexcept nogil:
    cdef Stream* s = &t.streams[which]
    if s.at >= s.end:
        t.bad = 1
        return 0
    s.at += 1
    return s.data[s.at - 1]

cdef inline uint64_t get8(Tree* t, int which) noexcept nogil:
    cdef Stream* s = &t.streams[which]
    cdef uint64_t value
    if s.end - s.at < 8:
        t.bad = 1
        return 0
    memcpy(&value, s.data + s.at, 8)
    s.at += 8
    return value

cdef inline uint32_t get4(Tree* t, int which) noexcept nogil:
    cdef Stream* s = &t.streams[which]
    cdef uint32_t value
    if s.end - s.at < 4:
        t.bad = 1
        return 0
    memcpy(&value, s.data + s.at, 4)
    s.at += 4
    return value

cdef inline uint64_t get(Tree* t, int which) noexcept nogil:
    cdef uint64_t value = get1(t, which)
    return value if value < 255 else get8(t, which + 1)


# Structure: a leaf bitmap in preorder

cdef int check_structure(Tree* t, int64_t max_depth) noexcept nogil:
    """1 where the tree is what a leaf bitmap can say, with leaves' marks as scikit-learn's; -1: memory."""
    cdef int64_t p, top = 0, deepest = 0, here = 0
    cdef Node* node
    cdef uint64_t leaf_threshold = bits_of(-2.0)
    cdef int64_t* owners = reserve(t, (t.n + 1) * 2)
    cdef int ok = 1
    if owners == NULL:
        return -1
    for p in range(t.n):
        node = &t.nodes[p]
        if here > deepest:
            deepest = here
        if node.left == -1:
            t.leaves[t.leaf_count] = p
            t.leaf_count += 1
            if node.right != -1 or node.feature != -2 or bits_of(node.threshold) != leaf_threshold:
                ok = 0
                break
            if top == 0:
                ok = p == t.n - 1
                if not ok:
                    break
            else:
                top -= 1
                if t.nodes[owners[2 * top]].right != p + 1:
                    ok = 0
                    break
                here = owners[2 * top + 1]
        else:
            if node.left != p + 1 or node.feature < 0 or node.feature >= t.features:
                ok = 0
                break
            t.inners[t.inner_count] = p
            t.inner_count += 1
            here += 1
            owners[2 * top] = p
            owners[2 * top + 1] = here
            top += 1
    if t.leaf_count != t.inner_count + 1 or deepest > max_depth:
        ok = 0
    return ok

cdef void put_structure(Tree* t) noexcept nogil:
    cdef int64_t p
    cdef uint8_t byte = 0
    for p in range(t.n):
        byte |= <uint8_t>(t.nodes[p].left == -1) << <uint8_t>(7 - (p & 7))
        if p & 7 == 7 or p == t.n - 1:
            put1(t, LEAVES, byte)
            byte = 0

cdef bint take_lists(Tree* t) noexcept nogil:
    t.leaf_count = 0
    t.inner_count = 0
    t.leaves = reserve(t, (t.n + 1) * 2)
    t.inners = t.leaves + t.n + 1
    return t.leaves != NULL

cdef void get_structure(Tree* t, int64_t max_depth) noexcept nogil:
    cdef int64_t p, top = 0, here = 0, owner
    cdef Node* node
    cdef uint8_t byte = 0
    cdef int64_t* owners = reserve(t, (t.n + 1) * 2)
    if owners == NULL:
        t.bad = 2
        return
    for p in range(t.n):
        if p & 7 == 0:
            byte = get1(t, LEAVES)
            if t.bad:
                break
        if here > max_depth:
            t.bad = 1
            break
        node = &t.nodes[p]
        if byte >> (7 - (p & 7)) & 1:
            t.leaves[t.leaf_count] = p
            t.leaf_count += 1
            node.left = -1
            node.right = -1
            node.feature = -2
            node.threshold = -2.0
            if top == 0:
                if p != t.n - 1:
                    t.bad = 1
                    break
            else:
                top -= 1
                owner = owners[2 * top]
                here = owners[2 * top + 1]
                t.nodes[owner].right = p + 1
        else:
            t.inners[t.inner_count] = p
            t.inner_count += 1
            node.left = p + 1
            here += 1
            owners[2 * top] = p
            owners[2 * top + 1] = here
            top += 1
    if t.leaf_count != t.inner_count + 1:  # the last right subtree is missing
        t.bad = 1
    if t.n & 7 and byte & (0xFF >> (t.n & 7)):
        t.bad = 1


# Features, and thresholds in the order of their features

cdef void put_features(Tree* t) noexcept nogil:
    cdef int64_t p, q
    for q in range(t.inner_count):
        p = t.inners[q]
        put(t, FEATURE, <uint64_t>t.nodes[p].feature)

cdef void get_features(Tree* t) noexcept nogil:
    cdef int64_t p, q
    cdef uint64_t feature
    for q in range(t.inner_count):
        p = t.inners[q]
        feature = get(t, FEATURE)
        if feature >= <uint64_t>t.features:
            t.bad = 1
            return
        t.nodes[p].feature = <int64_t>feature

cdef int64_t* by_feature(Tree* t) noexcept nogil:
    """Inner nodes in the order of their features (as they come where features are many)."""
    cdef int64_t p, q, f, size, at = 0, count
    cdef int64_t* order = reserve(t, t.n + 1)
    cdef int64_t* starts
    if order == NULL:
        t.bad = 2
        return NULL
    if t.features > SORTED_FEATURES:
        for q in range(t.inner_count):
            p = t.inners[q]
            order[at] = p
            at += 1
        return order
    starts = reserve(t, t.features + 1)
    if starts == NULL:
        t.bad = 2
        return NULL
    memset(starts, 0, (t.features + 1) * 8)
    for q in range(t.inner_count):
        p = t.inners[q]
        starts[t.nodes[p].feature] += 1
    for f in range(t.features):
        count = starts[f]
        starts[f] = at
        at += count
    for q in range(t.inner_count):
        p = t.inners[q]
        f = t.nodes[p].feature
        order[starts[f]] = p
        starts[f] += 1
    return order

cdef inline int64_t rank_of(const uint64_t* table, int64_t low, int64_t high, uint64_t b) noexcept nogil:
    """Where the bits stand in a table sorted by key; -1 where they do not."""
    cdef int64_t wanted = <int64_t>key(b), size = high - low, half
    while size > 1:  # no branch that depends on the numbers: it would be guessed wrong half the time
        half = size >> 1
        low += half * (<int64_t>key(table[low + half - 1]) < wanted)
        size -= half
    return low if size == 1 and table[low] == b else -1

cdef inline void put_rank(Tree* t, int which, int64_t rank, int64_t* last) noexcept nogil:
    """1 + how far a rank is from the last one (which it becomes); 0 for none."""
    if rank < 0:
        put4(t, which, 0)
    else:
        put4(t, which, <uint32_t>(1 + zigzag(<uint64_t>(rank - last[0]))))
        last[0] = rank

cdef inline int64_t get_rank(Tree* t, int which, int64_t low, int64_t high, int64_t* last) noexcept nogil:
    cdef uint32_t coded = get4(t, which)
    cdef int64_t rank
    if coded == 0:
        return -1
    rank = last[0] + <int64_t>unzigzag(coded - 1)
    if rank < low or rank >= high:
        t.bad = 1
        return -1
    last[0] = rank
    return rank

cdef inline bint has_thresholds(Tree* t) noexcept nogil:
    return t.table_features == t.features and 0 < t.features <= SORTED_FEATURES

cdef void put_thresholds(Tree* t) noexcept nogil:
    cdef int64_t i, p, f, rank, last = 0, before = -1, inner = (t.n - 1) // 2
    cdef int64_t* order = by_feature(t)
    if order == NULL:
        return
    for i in range(inner):
        p = order[i]
        if has_thresholds(t):
            f = t.nodes[p].feature
            if f != before:
                before = f
                last = t.table_starts[f]
            rank = rank_of(t.table_thresholds, t.table_starts[f], t.table_starts[f + 1],
                           bits_of(t.nodes[p].threshold))
            put_rank(t, THRESHOLD_RANK, rank, &last)
            if rank >= 0:
                continue
        put8(t, THRESHOLD, bits_of(t.nodes[p].threshold))

cdef void get_thresholds(Tree* t) noexcept nogil:
    cdef int64_t i, p, f, rank, last = 0, before = -1, inner = (t.n - 1) // 2
    cdef int64_t* order = by_feature(t)
    if order == NULL:
        return
    for i in range(inner):
        p = order[i]
        if has_thresholds(t):
            f = t.nodes[p].feature
            if f != before:
                before = f
                last = t.table_starts[f]
            rank = get_rank(t, THRESHOLD_RANK, t.table_starts[f], t.table_starts[f + 1], &last)
            if t.bad:
                break
            if rank >= 0:
                t.nodes[p].threshold = from_bits(t.table_thresholds[rank])
                continue
        t.nodes[p].threshold = from_bits(get8(t, THRESHOLD))
        if t.bad:
            break


# Samples: parents are sums

cdef int put_samples(Tree* t) noexcept nogil:
    cdef int64_t p, q
    cdef Node* a = t.nodes
    cdef uint64_t total
    cdef int rules = R_SAMPLES
    for q in range(t.leaf_count):
        put(t, SAMPLES, <uint64_t>a[t.leaves[q]].samples)
    for q in range(t.inner_count):
        p = t.inners[q]
        if <uint64_t>a[p].samples != <uint64_t>a[p + 1].samples + <uint64_t>a[a[p].right].samples:
            rules = 0
            break
    if not rules:
        for q in range(t.inner_count - 1, -1, -1):
            p = t.inners[q]
            total = <uint64_t>a[p + 1].samples + <uint64_t>a[a[p].right].samples
            put(t, SAMPLES, zigzag(<uint64_t>a[p].samples - total))
    return rules

cdef void get_samples(Tree* t, int rules) noexcept nogil:
    cdef int64_t p, q
    cdef Node* a = t.nodes
    cdef uint64_t total
    for q in range(t.leaf_count):
        p = t.leaves[q]
        a[p].samples = <int64_t>get(t, SAMPLES)
    for q in range(t.inner_count - 1, -1, -1):
        p = t.inners[q]
        total = <uint64_t>a[p + 1].samples + <uint64_t>a[a[p].right].samples
        if not rules & R_SAMPLES:
            total += unzigzag(get(t, SAMPLES))
        a[p].samples = <int64_t>total


# Weights: equal to the samples, or whole with parents as sums, or plain

cdef int put_weights(Tree* t) noexcept nogil:
    cdef int64_t p, q
    cdef Node* a = t.nodes
    cdef bint equal = True, whole = True
    for p in range(t.n):
        if bits_of(a[p].weight) != bits_of(<double>a[p].samples):
            equal = False
        if not is_whole(a[p].weight):
            whole = False
            break
    for q in range(t.inner_count):
        p = t.inners[q]
        if a[p].weight != a[p + 1].weight + a[a[p].right].weight:
            whole = False
            break
    if equal and whole:
        return R_WEIGHT_EQUAL
    if whole:
        for q in range(t.leaf_count):
            p = t.leaves[q]
            put(t, WEIGHT, zigzag(<uint64_t><int64_t>a[p].weight - <uint64_t>a[p].samples))
        return R_WEIGHT_WHOLE
    for q in range(t.leaf_count):
        p = t.leaves[q]
        put8(t, WEIGHT_PLAIN, bits_of(a[p].weight))
    for q in range(t.inner_count - 1, -1, -1):
        p = t.inners[q]
        put(t, WEIGHT, residual(a[p].weight, a[p + 1].weight + a[a[p].right].weight))
    return 0

cdef void get_weights(Tree* t, int rules) noexcept nogil:
    cdef int64_t p, q
    cdef Node* a = t.nodes
    if rules & R_WEIGHT_EQUAL:
        for p in range(t.n):
            a[p].weight = <double>a[p].samples
            if not is_whole(a[p].weight):
                t.bad = 1
        return
    for q in range(t.leaf_count):
        p = t.leaves[q]
        if rules & R_WEIGHT_WHOLE:
            a[p].weight = <double><int64_t>(unzigzag(get(t, WEIGHT)) + <uint64_t>a[p].samples)
            if not is_whole(a[p].weight):
                t.bad = 1
        else:
            a[p].weight = from_bits(get8(t, WEIGHT_PLAIN))
    for q in range(t.inner_count - 1, -1, -1):
        p = t.inners[q]
        a[p].weight = a[p + 1].weight + a[a[p].right].weight
        if rules & R_WEIGHT_WHOLE:
            if not is_whole(a[p].weight):
                t.bad = 1
        else:
            a[p].weight = corrected(get(t, WEIGHT), a[p + 1].weight + a[a[p].right].weight)


# Values

cdef int64_t one_hot(const double* row, int64_t classes) noexcept nogil:
    """The class that has the whole weight; `classes` where none has."""
    cdef int64_t c, found = classes
    cdef uint64_t b
    for c in range(classes):
        b = bits_of(row[c])
        if b == ONE_BITS and found == classes:
            found = c
        elif b:
            return classes
    return found

cdef inline void put_element(Tree* t, double x, int64_t k) noexcept nogil:
    cdef int64_t rank
    if t.table_size:
        rank = rank_of(t.table_values, 0, t.table_size, bits_of(x))
        put_rank(t, VALUE_RANK, rank, &t.last_ranks[k])
        if rank >= 0:
            return
    put8(t, VALUE, bits_of(x))

cdef inline double get_element(Tree* t, int64_t k) noexcept nogil:
    cdef int64_t rank
    if t.table_size:
        rank = get_rank(t, VALUE_RANK, 0, t.table_size, &t.last_ranks[k])
        if rank >= 0:
            return from_bits(t.table_values[rank])
    return from_bits(get8(t, VALUE))

cdef void put_row(Tree* t, const double* row) noexcept nogil:
    """The values of one node: a class where one has all, numbers otherwise."""
    cdef int64_t k, c, pure
    for k in range(t.outputs):
        if t.classes > 1:
            pure = one_hot(row + k * t.classes, t.classes)
            put(t, CLASS, <uint64_t>pure)
            if pure < t.classes:
                continue
        for c in range(t.classes):
            put_element(t, row[k * t.classes + c], k)

cdef void get_row(Tree* t, double* row) noexcept nogil:
    cdef int64_t k, c
    cdef uint64_t pure
    for k in range(t.outputs):
        if t.classes > 1:
            pure = get(t, CLASS)
            if pure > <uint64_t>t.classes:
                t.bad = 1
                return
            if pure < <uint64_t>t.classes:
                for c in range(t.classes):
                    row[k * t.classes + c] = 0.0
                row[k * t.classes + <int64_t>pure] = 1.0
                continue
        for c in range(t.classes):
            row[k * t.classes + c] = get_element(t, k)

cdef bint counts_fit(Tree* t, int64_t* counts) noexcept nogil:
    """Whether every value is a count over the weight, parents are sums, and rows add up."""
    cdef int64_t p, q, j, c, k, total, count, width = t.outputs * t.classes
    cdef Node* a = t.nodes
    cdef double w
    cdef const double* row
    for q in range(t.leaf_count):
        p = t.leaves[q]
        w = a[p].weight
        row = t.values + p * width
        if w < 1.0:
            return False
        for k in range(t.outputs):
            total = 0
            for c in range(t.classes):
                j = k * t.classes + c
                if not nearest(row[j] * w, &count) or count < 0:
                    return False
                counts[p * width + j] = count
                total += count
                if total > MOST_WHOLE:
                    return False
            if total != <int64_t>w:
                return False
    for q in range(t.inner_count - 1, -1, -1):
        p = t.inners[q]
        for j in range(width):
            counts[p * width + j] = (counts[(p + 1) * width + j]
                                     + counts[a[p].right * width + j])
    for p in range(t.n):
        w = a[p].weight
        for j in range(width):
            if bits_of(<double>counts[p * width + j] / w) != bits_of(t.values[p * width + j]):
                return False
    return True

cdef void put_counts(Tree* t, const int64_t* counts) noexcept nogil:
    cdef int64_t p, q, k, c, pure, width = t.outputs * t.classes
    cdef const int64_t* row
    for q in range(t.leaf_count):
        p = t.leaves[q]
        for k in range(t.outputs):
            row = counts + p * width + k * t.classes
            pure = t.classes
            for c in range(t.classes):
                if row[c] == <int64_t>t.nodes[p].weight:
                    pure = c
                    break
            put(t, CLASS, <uint64_t>pure)
            if pure == t.classes:
                for c in range(t.classes - 1):
                    put(t, COUNTS, <uint64_t>row[c])

cdef void get_counts(Tree* t, int64_t* counts) noexcept nogil:
    cdef int64_t p, q, k, c, j, rest, width = t.outputs * t.classes
    cdef uint64_t pure, count
    cdef int64_t* row
    cdef double* out
    cdef double w
    for q in range(t.leaf_count):
        p = t.leaves[q]
        for k in range(t.outputs):
            row = counts + p * width + k * t.classes
            rest = <int64_t>t.nodes[p].weight
            pure = get(t, CLASS)
            if pure > <uint64_t>t.classes:
                t.bad = 1
                return
            if pure < <uint64_t>t.classes:
                for c in range(t.classes):
                    row[c] = 0
                row[<int64_t>pure] = rest
                continue
            for c in range(t.classes - 1):
                count = get(t, COUNTS)
                if count > <uint64_t>rest:
                    t.bad = 1
                    return
                row[c] = <int64_t>count
                rest -= <int64_t>count
            row[t.classes - 1] = rest
    for q in range(t.inner_count - 1, -1, -1):
        p = t.inners[q]
        for j in range(width):
            counts[p * width + j] = (counts[(p + 1) * width + j]
                                     + counts[t.nodes[p].right * width + j])
    for p in range(t.n):
        w = t.nodes[p].weight
        out = t.values + p * width
        if w < 1.0:
            t.bad = 1
            return
        for j in range(width):
            out[j] = <double>counts[p * width + j] / w

cdef bint get_sums(Tree* t, int64_t* sums) noexcept nogil:
    """Whole sums: of leaves from their values, of parents from their children."""
    cdef int64_t p, q, j, width = t.outputs
    cdef Node* a = t.nodes
    for q in range(t.leaf_count):
        p = t.leaves[q]
        for j in range(width):
            if (a[p].weight < 1.0 or not nearest(t.values[p * width + j] * a[p].weight, &sums[p * width + j])
                    or sums[p * width + j] >= MOST_WHOLE or sums[p * width + j] <= -MOST_WHOLE):
                return False
    for q in range(t.inner_count - 1, -1, -1):
        p = t.inners[q]
        for j in range(width):
            sums[p * width + j] = sums[(p + 1) * width + j] + sums[a[p].right * width + j]
            if (a[p].weight < 1.0 or sums[p * width + j] >= MOST_WHOLE
                    or sums[p * width + j] <= -MOST_WHOLE):
                return False
    return True

cdef bint sums_fit(Tree* t, int64_t* sums) noexcept nogil:
    """Whether every value is a whole sum over the weight, and parents' sums are their children's."""
    cdef int64_t p, j, width = t.outputs
    if not get_sums(t, sums):
        return False
    for p in range(t.n):
        for j in range(width):
            if bits_of(<double>sums[p * width + j] / t.nodes[p].weight) != bits_of(t.values[p * width + j]):
                return False
    return True

cdef inline double mean_of(Tree* t, int64_t p, int64_t j, int64_t width) noexcept nogil:
    cdef int64_t r = t.nodes[p].right
    return ((t.nodes[p + 1].weight * t.values[(p + 1) * width + j]
             + t.nodes[r].weight * t.values[r * width + j]) / t.nodes[p].weight)

cdef inline double before(Tree* t, int64_t p, int64_t j, int64_t width) noexcept nogil:
    return t.values[p * width + j - t.classes] if j >= t.classes else 0.0

cdef bint as_events(double before_, double after, int64_t at_risk, int64_t* events, int64_t* among) noexcept nogil:
    """Whole events among the whole number at risk by which a cumulative hazard grew.

    The simplest fraction that explains the step (continued fractions), then its largest multiple.
    """
    cdef double x = after - before_, part
    cdef int64_t p = 0, n = 0, p0 = 0, n0 = 1, p1 = 1, n1 = 0, a, i
    if not (x > 0.0 and x <= 1.5):
        return False
    for i in range(64):
        if not x < 9007199254740992.0:
            return False
        a = <int64_t>floor(x)
        if <double>a * <double>n1 + <double>n0 > <double>at_risk:
            return False
        p = a * p1 + p0
        n = a * n1 + n0
        if p >= 1 and n >= 1 and bits_of(before_ + <double>p / <double>n) == bits_of(after):
            events[0] = p * (at_risk // n)
            among[0] = n * (at_risk // n)
            return events[0] <= among[0]
        part = x - <double>a
        if part == 0.0:
            return False
        x = 1.0 / part
        p0, p1, n0, n1 = p1, p, n1, n
    return False

cdef bint put_hazard(Tree* t) noexcept nogil:
    """Cumulative hazard and survival over the outputs (times), by events and numbers at risk."""
    cdef int64_t p, k, left, events, among, width = t.outputs * 2
    cdef double hazard, survival
    cdef const double* row
    cdef Py_ssize_t places[4]
    cdef int i
    if t.classes != 2 or t.outputs < 2:
        return False
    for i in range(4):
        places[i] = t.streams[CLASS + i].at
    for p in range(t.n):
        row = t.values + p * width
        left = <int64_t>t.nodes[p].weight
        hazard = 0.0
        survival = 1.0
        for k in range(t.outputs):
            events = 0
            if bits_of(row[2 * k]) != bits_of(hazard):
                if not as_events(hazard, row[2 * k], left, &events, &among):
                    break
                survival = survival * (1.0 - <double>events / <double>among)
            if bits_of(row[2 * k + 1]) != bits_of(survival):
                break
            hazard = row[2 * k]
            put(t, COUNTS, <uint64_t>events)
            if events:
                put(t, CLASS, <uint64_t>(left - among))
                left = among - events
        else:
            continue
        for i in range(4):
            t.streams[CLASS + i].at = places[i]
        return False
    return True

cdef void get_hazard(Tree* t) noexcept nogil:
    cdef int64_t p, k, left
    cdef uint64_t events, gone
    cdef double hazard, survival
    cdef double* row
    for p in range(t.n):
        row = t.values + p * t.outputs * 2
        left = <int64_t>t.nodes[p].weight
        hazard = 0.0
        survival = 1.0
        for k in range(t.outputs):
            events = get(t, COUNTS)
            if events:
                gone = get(t, CLASS)
                if gone >= <uint64_t>left or events > <uint64_t>left - gone:
                    t.bad = 1
                    return
                left -= <int64_t>gone
                hazard = hazard + <double><int64_t>events / <double>left
                survival = survival * (1.0 - <double><int64_t>events / <double>left)
                left -= <int64_t>events
            row[2 * k] = hazard
            row[2 * k + 1] = survival

cdef int put_values(Tree* t, int rules, int64_t** whole) noexcept nogil:
    """The rule that the values follow; `whole` receives counts or sums where they are whole."""
    cdef int64_t p, q, j, width = t.outputs * t.classes, far = 0, inner = (t.n - 1) // 2, steps = 0
    cdef int found = 0
    if rules & (R_WEIGHT_EQUAL | R_WEIGHT_WHOLE):
        whole[0] = reserve(t, t.n * width)
        if whole[0] == NULL:
            t.bad = 2
            return 0
        if t.classes > 1 and counts_fit(t, whole[0]):
            put_counts(t, whole[0])
            return R_COUNTS
        if put_hazard(t):
            return R_HAZARD
        if t.classes == 1 and sums_fit(t, whole[0]):
            found = R_WHOLE_SUMS
        else:
            whole[0] = NULL
    if not found:
        for q in range(t.inner_count):
            p = t.inners[q]
            for j in range(width):
                if residual(t.values[p * width + j], mean_of(t, p, j, width)) >> 40:
                    far += 1
        for p in range(t.n):
            for j in range(t.classes, width):
                if bits_of(t.values[p * width + j]) == bits_of(t.values[p * width + j - t.classes]):
                    steps += 1
        if steps * 2 > t.n * width:
            for p in range(t.n):
                for j in range(width):
                    put(t, VALUE_RESIDUAL, residual(t.values[p * width + j], before(t, p, j, width)))
            return R_STEPS
        if far * 4 <= inner * width:
            found = R_MEANS
    for q in range(t.leaf_count if found else t.n):
        put_row(t, t.values + (t.leaves[q] if found else q) * width)
    if found == R_MEANS:
        for q in range(t.inner_count - 1, -1, -1):
            p = t.inners[q]
            for j in range(width):
                put(t, VALUE_RESIDUAL, residual(t.values[p * width + j], mean_of(t, p, j, width)))
    return found

cdef void get_values(Tree* t, int rules, int64_t** whole) noexcept nogil:
    cdef int64_t p, q, j, width = t.outputs * t.classes
    cdef bint of_leaves
    if rules & (R_COUNTS | R_WHOLE_SUMS):
        if not rules & (R_WEIGHT_EQUAL | R_WEIGHT_WHOLE):
            t.bad = 1
            return
        whole[0] = reserve(t, t.n * width)
        if whole[0] == NULL:
            t.bad = 2
            return
    if rules & R_COUNTS:
        if t.classes < 2:
            t.bad = 1
        else:
            get_counts(t, whole[0])
        return
    if rules & R_HAZARD:
        if t.classes != 2 or t.outputs < 2 or not rules & (R_WEIGHT_EQUAL | R_WEIGHT_WHOLE):
            t.bad = 1
        else:
            get_hazard(t)
        return
    if rules & R_STEPS:
        for p in range(t.n):
            for j in range(width):
                t.values[p * width + j] = corrected(get(t, VALUE_RESIDUAL), before(t, p, j, width))
        return
    of_leaves = rules & (R_WHOLE_SUMS | R_MEANS)
    for q in range(t.leaf_count if of_leaves else t.n):
        get_row(t, t.values + (t.leaves[q] if of_leaves else q) * width)
        if t.bad:
            return
    if rules & R_WHOLE_SUMS:
        if t.classes != 1 or not get_sums(t, whole[0]):
            t.bad = 1
            return
        for q in range(t.inner_count):
            p = t.inners[q]
            for j in range(width):
                t.values[p * width + j] = <double>whole[0][p * width + j] / t.nodes[p].weight
    elif rules & R_MEANS:
        for q in range(t.inner_count - 1, -1, -1):
            p = t.inners[q]
            for j in range(width):
                t.values[p * width + j] = corrected(get(t, VALUE_RESIDUAL), mean_of(t, p, j, width))


# Impurity

cdef double gini(Tree* t, const int64_t* counts, int64_t p) noexcept nogil:
    cdef int64_t k, c, width = t.outputs * t.classes
    cdef double total = 0.0, squares, count, w = t.nodes[p].weight
    for k in range(t.outputs):
        squares = 0.0
        for c in range(t.classes):
            count = <double>counts[p * width + k * t.classes + c]
            squares += count * count
        total += 1.0 - squares / (w * w)
    return total / <double>t.outputs

cdef inline double variance(double squares, double w, double value) noexcept nogil:
    return squares / w - value * value

cdef bint sum_squares(Tree* t, int64_t* squares) noexcept nogil:
    """Parents' sums of squares from their children's; whether all are in range."""
    cdef int64_t p, q
    for q in range(t.leaf_count):
        p = t.leaves[q]
        if squares[p] < 0 or squares[p] >= MOST_WHOLE:
            return False
    for q in range(t.inner_count - 1, -1, -1):
        p = t.inners[q]
        squares[p] = squares[p + 1] + squares[t.nodes[p].right]
        if squares[p] >= MOST_WHOLE:
            return False
    return True

cdef bint squares_fit(Tree* t, int64_t* squares) noexcept nogil:
    """Whether every impurity is a whole sum of squares over the weight, less the mean's square."""
    cdef int64_t p, q
    cdef Node* a = t.nodes
    cdef double v
    for q in range(t.leaf_count):
        p = t.leaves[q]
        v = t.values[p]
        if not nearest((a[p].impurity + v * v) * a[p].weight, &squares[p]):
            return False
    if not sum_squares(t, squares):
        return False
    for p in range(t.n):
        if bits_of(variance(<double>squares[p], a[p].weight, t.values[p])) != bits_of(a[p].impurity):
            return False
    return True

cdef inline int64_t least_squares(double v, double w) noexcept nogil:
    cdef int64_t found
    return found if nearest((v * v) * w, &found) else 0

cdef inline double square_sum(Tree* t, int64_t p) noexcept nogil:
    """Weighted sum of squared targets of a node."""
    cdef int64_t k
    cdef double w = t.nodes[p].weight, total = 0.0, v
    if t.nodes[p].left == -1 and t.nodes[p].samples == 1:
        for k in range(t.outputs):
            v = t.values[p * t.outputs + k]
            total += (w * v) * v
        return total
    for k in range(t.outputs):
        v = t.values[p * t.outputs + k]
        total += v * v
    return (t.nodes[p].impurity * <double>t.outputs + total) * w

cdef inline double mean_square(Tree* t, int64_t p) noexcept nogil:
    cdef int64_t k
    cdef double total = 0.0, v
    for k in range(t.outputs):
        v = t.values[p * t.outputs + k]
        total += v * v
    return total

cdef double leaf_spread(Tree* t, int64_t p, int64_t left) noexcept nogil:
    """The impurity of a leaf as if it held one target; `left`: its left sibling, if a leaf, else -1."""
    cdef int64_t k
    cdef double w = t.nodes[p].weight, squares = 0.0, total, other, v, u, all_squares = 0.0
    cdef double wl
    if left < 0:
        for k in range(t.outputs):
            v = t.values[p * t.outputs + k]
            squares += (w * v) * v
        total = squares / w
        for k in range(t.outputs):
            v = t.values[p * t.outputs + k]
            total -= v * v
        return total / <double>t.outputs
    # scikit-learn takes what is left of its sibling's sums from the parent's.
    wl = t.nodes[left].weight
    for k in range(t.outputs):
        v = t.values[p * t.outputs + k]
        u = t.values[left * t.outputs + k]
        all_squares += (wl * u) * u
        squares += (wl * u) * u
    for k in range(t.outputs):
        v = t.values[p * t.outputs + k]
        all_squares += (w * v) * v
    total = (all_squares - squares) / w
    for k in range(t.outputs):
        v = t.values[p * t.outputs + k]
        u = t.values[left * t.outputs + k]
        other = ((wl * u + w * v) - wl * u) / w
        total -= other * other
    return total / <double>t.outputs

cdef double inner_spread(Tree* t, int64_t p) noexcept nogil:
    cdef int64_t k
    cdef double total = (square_sum(t, p + 1) + square_sum(t, t.nodes[p].right)) / t.nodes[p].weight
    cdef double v
    for k in range(t.outputs):
        v = t.values[p * t.outputs + k]
        total -= v * v
    return total / <double>t.outputs

cdef inline void put_spread(Tree* t, int which, int64_t p, double predicted) noexcept nogil:
    """1 + the residual in quarters of the last place of the mean square; 0 and the number itself."""
    cdef double x = t.nodes[p].impurity, unit = quarter_ulp(mean_square(t, p))
    cdef int64_t steps = 0
    if (unit > 0.0 and predicted == predicted and nearest((x - predicted) / unit, &steps)
            and steps > -MOST_STEPS and steps < MOST_STEPS
            and bits_of(predicted + <double>steps * unit) == bits_of(x)):
        put(t, which, 1 + zigzag(<uint64_t>steps))
    else:
        put1(t, which, 0)
        put8(t, IMPURITY, bits_of(x))

cdef inline double get_spread(Tree* t, int which, int64_t p, double predicted) noexcept nogil:
    cdef uint64_t z = get(t, which)
    cdef int64_t steps
    cdef double found
    if z == 0:
        return from_bits(get8(t, IMPURITY))
    steps = <int64_t>unzigzag(z - 1)
    found = predicted + <double>steps * quarter_ulp(mean_square(t, p))
    if found != found:
        t.bad = 1
    return found

cdef inline int64_t* left_siblings(Tree* t) noexcept nogil:
    """For every right child that is a leaf beside a leaf, its sibling; -1 elsewhere."""
    cdef int64_t p, q
    cdef int64_t* found = reserve(t, t.n)
    if found == NULL:
        t.bad = 2
        return NULL
    for p in range(t.n):
        found[p] = -1
    for q in range(t.inner_count):
        p = t.inners[q]
        if t.nodes[p].right == p + 2:
            found[p + 2] = p + 1
    return found

cdef int put_impurity(Tree* t, int rules, int64_t* whole) noexcept nogil:
    cdef int64_t p, q
    cdef Node* a = t.nodes
    cdef int64_t* squares
    cdef int64_t* siblings
    cdef bint fits
    if rules & R_COUNTS:
        fits = True
        for p in range(t.n):
            if bits_of(gini(t, whole, p)) != bits_of(a[p].impurity):
                fits = False
                break
        if fits:
            return R_GINI
    if rules & R_WHOLE_SUMS and t.outputs == 1:
        squares = reserve(t, t.n)
        if squares == NULL:
            t.bad = 2
            return 0
        fits = squares_fit(t, squares)
        if fits:
            for q in range(t.leaf_count):
                p = t.leaves[q]
                put(t, IMPURITY_LEAF, zigzag(<uint64_t>squares[p]
                    - <uint64_t>least_squares(t.values[p], a[p].weight)))
        if fits:
            return R_SQUARES
    if t.classes == 1 and rules & (R_MEANS | R_WHOLE_SUMS):
        siblings = left_siblings(t)
        if siblings == NULL:
            return 0
        for q in range(t.leaf_count):
            p = t.leaves[q]
            put_spread(t, IMPURITY_LEAF, p, leaf_spread(t, p, siblings[p]))
        for q in range(t.inner_count - 1, -1, -1):
            p = t.inners[q]
            put_spread(t, IMPURITY_INNER, p, inner_spread(t, p))
        return R_SPREAD
    for p in range(t.n):
        if a[p].left == -1:
            put1(t, IMPURITY_LEAF, bits_of(a[p].impurity) != 0)
        if a[p].left != -1 or bits_of(a[p].impurity):
            put8(t, IMPURITY, bits_of(a[p].impurity))
    return 0

cdef void get_impurity(Tree* t, int rules, int64_t* whole) noexcept nogil:
    cdef int64_t p, q, total
    cdef Node* a = t.nodes
    cdef int64_t* squares
    cdef int64_t* siblings
    if rules & R_GINI:
        if not rules & R_COUNTS:
            t.bad = 1
            return
        for p in range(t.n):
            a[p].impurity = gini(t, whole, p)
        return
    if rules & R_SQUARES:
        if not rules & R_WHOLE_SUMS or t.outputs != 1:
            t.bad = 1
            return
        squares = reserve(t, t.n)
        if squares == NULL:
            t.bad = 2
            return
        for q in range(t.leaf_count):
            p = t.leaves[q]
            squares[p] = <int64_t>(unzigzag(get(t, IMPURITY_LEAF))
                                   + <uint64_t>least_squares(t.values[p], a[p].weight))
        if not sum_squares(t, squares):
            t.bad = 1
        else:
            for p in range(t.n):
                a[p].impurity = variance(<double>squares[p], a[p].weight, t.values[p])
        return
    if rules & R_SPREAD:
        if t.classes != 1:
            t.bad = 1
            return
        siblings = left_siblings(t)
        if siblings == NULL:
            return
        for q in range(t.leaf_count):
            p = t.leaves[q]
            a[p].impurity = get_spread(t, IMPURITY_LEAF, p, leaf_spread(t, p, siblings[p]))
        for q in range(t.inner_count - 1, -1, -1):
            p = t.inners[q]
            a[p].impurity = get_spread(t, IMPURITY_INNER, p, inner_spread(t, p))
        return
    for p in range(t.n):
        if a[p].left != -1 or get1(t, IMPURITY_LEAF):
            a[p].impurity = from_bits(get8(t, IMPURITY))
        else:
            a[p].impurity = 0.0


# Where missing values go: to the side with more samples, unless some were seen

cdef int put_missing(Tree* t) noexcept nogil:
    cdef int64_t p
    cdef Node* a = t.nodes
    cdef uint8_t rule
    cdef bint fits = True
    for p in range(t.n):
        rule = 0 if a[p].left == -1 else a[p + 1].samples > a[a[p].right].samples
        if a[p].missing != rule:
            fits = False
            break
    if fits:
        return R_MISSING
    for p in range(t.n):
        put1(t, MISSING, a[p].missing)
    return 0

cdef void get_missing(Tree* t, int rules) noexcept nogil:
    cdef int64_t p
    cdef Node* a = t.nodes
    for p in range(t.n):
        if not rules & R_MISSING:
            a[p].missing = get1(t, MISSING)
        elif a[p].left == -1:
            a[p].missing = 0
        else:
            a[p].missing = a[p + 1].samples > a[a[p].right].samples


# The profile "inference": what prediction needs, and nothing that could be taken for a number

cdef void forget(Node* node, double* row, int64_t width) noexcept nogil:
    cdef int64_t j
    node.impurity = from_bits(NAN_BITS)
    node.samples = -1
    node.weight = from_bits(NAN_BITS)
    if node.left != -1:
        for j in range(width):
            row[j] = from_bits(NAN_BITS)

cdef bint is_dropped(Tree* t) noexcept nogil:
    cdef int64_t p, j, width = t.outputs * t.classes
    for p in range(t.n):
        if (t.nodes[p].samples != -1 or bits_of(t.nodes[p].weight) != NAN_BITS
                or bits_of(t.nodes[p].impurity) != NAN_BITS):
            return False
        if t.nodes[p].left != -1:
            for j in range(width):
                if bits_of(t.values[p * width + j]) != NAN_BITS:
                    return False
    return True

cdef int encode_tree(Tree* t, int64_t max_depth) noexcept nogil:
    cdef int rules = 0, found = -1
    cdef int64_t p, width = t.outputs * t.classes
    cdef int64_t* whole = NULL
    if take_lists(t):
        found = check_structure(t, max_depth)
    if found < 0:
        t.bad = 2
    if found <= 0:
        return R_RAW
    put_structure(t)
    put_features(t)
    put_thresholds(t)
    if is_dropped(t):
        rules = R_INFERENCE
        for p in range(t.n):
            if t.nodes[p].left == -1:
                put_row(t, t.values + p * width)
            put1(t, MISSING, t.nodes[p].missing)
        return rules
    rules |= put_samples(t)
    rules |= put_weights(t)
    rules |= put_values(t, rules, &whole)
    if not t.bad:
        rules |= put_impurity(t, rules, whole)
    rules |= put_missing(t)
    return rules

cdef void decode_tree(Tree* t, int64_t max_depth, int rules) noexcept nogil:
    cdef int64_t p, width = t.outputs * t.classes
    cdef int64_t* whole = NULL
    cdef int i
    if not take_lists(t):
        t.bad = 2
        return
    get_structure(t, max_depth)
    if not t.bad:
        get_features(t)
    if not t.bad:
        get_thresholds(t)
    if t.bad:
        return
    if rules & R_INFERENCE:
        for p in range(t.n):
            if t.nodes[p].left == -1:
                get_row(t, t.values + p * width)
            t.nodes[p].missing = get1(t, MISSING)
            if t.bad:
                return
            forget(&t.nodes[p], t.values + p * width, width)
    else:
        get_samples(t, rules)
        get_weights(t, rules)
        if not t.bad:
            get_values(t, rules, &whole)
        if not t.bad:
            get_impurity(t, rules, whole)
        get_missing(t, rules)
    for i in range(STREAMS):
        if i != ORDER and i != RAW and t.streams[i].at != t.streams[i].end:
            t.bad = 1


cdef int set_up(Tree* t, const uint8_t[::1] nodes, const double[::1] values, const int64_t[::1] head,
                const int64_t[::1] starts, const uint64_t[::1] thresholds,
                const uint64_t[::1] table, int64_t[::1] work) except -1:
    cdef int64_t width
    t.n = head[0]
    t.features = head[2]
    t.outputs = head[3]
    t.classes = head[4]
    if t.n < 1 or t.features < 0 or t.outputs < 1 or t.classes < 1:
        raise ValueError("a size out of range")
    width = values.shape[0] // t.n  # by division: a product of sizes from files could wrap
    if (nodes.shape[0] % 64 or nodes.shape[0] // 64 != t.n or values.shape[0] % t.n
            or width % t.outputs or width // t.outputs != t.classes):
        raise ValueError("memory of another size than the tree's")
    t.nodes = <Node*>&nodes[0]
    t.values = <double*>&values[0]
    t.table_features = starts.shape[0] - 1
    t.table_size = table.shape[0] if t.classes == 1 else 0
    t.table_starts = &starts[0] if starts.shape[0] else NULL
    t.table_thresholds = &thresholds[0] if thresholds.shape[0] else NULL
    t.table_values = &table[0] if table.shape[0] else NULL
    t.bad = 0
    t.work = &work[0] if work.shape[0] else NULL
    t.work_left = work.shape[0]
    t.last_ranks = reserve(t, t.outputs + 1)
    if t.last_ranks == NULL:
        raise ValueError("too little memory to work in")
    memset(t.last_ranks, 0, (t.outputs + 1) * 8)
    return 0


def encode(const uint8_t[::1] nodes, const double[::1] values, const int64_t[::1] head,
           const int64_t[::1] starts, const uint64_t[::1] thresholds, const uint64_t[::1] table,
           uint8_t[::1] room, const int64_t[::1] places, int64_t[::1] lengths, int64_t[::1] work):
    """Streams of one tree in preorder, each from its place in `room`; its rules.

    `room` has `streams.most_bytes` from each place on.
    """
    cdef Tree t
    cdef Stream streams[STREAMS]
    cdef int rules, i
    cdef int64_t max_depth = head[1]
    if places.shape[0] != STREAMS or lengths.shape[0] != STREAMS or room.shape[0] == 0:
        raise ValueError("room for another number of streams")
    set_up(&t, nodes, values, head, starts, thresholds, table, work)
    for i in range(STREAMS):
        streams[i].data = &room[0]
        streams[i].at = places[i]
        streams[i].end = room.shape[0]
    t.streams = streams
    with nogil:
        rules = encode_tree(&t, max_depth)
    if t.bad:
        raise ValueError("too little memory to work in")
    for i in range(STREAMS):
        lengths[i] = streams[i].at - places[i]
    return rules


def decode(list columns, const int64_t[::1] begin, const int64_t[::1] end, int rules,
           const int64_t[::1] head, const int64_t[::1] starts, const uint64_t[::1] thresholds,
           const uint64_t[::1] table, uint8_t[::1] nodes, double[::1] values, int64_t[::1] work):
    """Fill the memory of one tree from its slices (bytes from `begin` to `end`) of the columns."""
    cdef Tree t
    cdef Stream streams[STREAMS]
    cdef int i
    cdef int64_t max_depth = head[1]
    cdef const uint8_t[::1] column
    for i in range(STREAMS):
        column = columns[i]
        if begin[i] < 0 or end[i] < begin[i] or end[i] > column.shape[0]:
            raise ValueError("a stream outside its column")
        streams[i].data = <uint8_t*>&column[0] if column.shape[0] else NULL
        streams[i].at = begin[i]
        streams[i].end = end[i]
    set_up(&t, nodes, values, head, starts, thresholds, table, work)
    t.streams = streams
    with nogil:
        decode_tree(&t, max_depth, rules)
    if t.bad == 2:
        raise ValueError("too little memory to work in")
    if t.bad:
        raise ValueError("the streams of a tree do not describe one")


def depth(const uint8_t[::1] nodes, int64_t[::1] work):
    """The depth of a tree whose children stand behind their parents."""
    cdef int64_t n = nodes.shape[0] // sizeof(Node), p, deepest = 0
    cdef const Node* a
    if n < 1 or work.shape[0] < n:
        raise ValueError("no nodes, or too little memory to work in")
    a = <const Node*>&nodes[0]
    with nogil:
        work[0] = 0
        for p in range(n):
            if a[p].left != -1:
                work[a[p].left] = work[p] + 1
                work[a[p].right] = work[p] + 1
            elif work[p] > deepest:
                deepest = work[p]
    return deepest


def equal(const uint8_t[::1] a, const uint8_t[::1] b):
    """Whether two trees' nodes are the same, padding aside."""
    cdef int64_t i, n = a.shape[0] // 64
    cdef bint same = a.shape[0] == b.shape[0]
    if not same or not n:
        return same
    with nogil:
        for i in range(n):
            if memcmp(&a[64 * i], &b[64 * i], 57):
                same = False
                break
    return same


def dropped(uint8_t[::1] nodes, double[::1] values, int64_t width):
    """Turn a tree into what the profile "inference" keeps of it."""
    cdef int64_t p, n = nodes.shape[0] // 64
    if values.shape[0] != n * width:
        raise ValueError("memory of another size than the tree's")
    for p in range(n):
        forget(<Node*>&nodes[64 * p], &values[0] + p * width, width)


# Histogram boosting

cdef packed struct Split:
    double value
    uint32_t count
    int64_t feature
    double threshold
    uint8_t missing
    uint32_t left
    uint32_t right
    double gain
    uint32_t depth
    uint8_t is_leaf
    uint8_t bin
    uint8_t is_categorical
    uint32_t bitset

cdef inline double unshrunk(Split* node, double rate) noexcept nogil:
    return node.value / (rate if node.is_leaf else 1.0)

cdef inline double mean_value(Split* a, int64_t p, double rate) noexcept nogil:
    cdef double of_left = <double>a[p + 1].count * unshrunk(&a[p + 1], rate)
    cdef double of_right = <double>a[a[p].right].count * unshrunk(&a[a[p].right], rate)
    return (of_left + of_right) / <double>a[p].count

cdef inline double gain_of(Split* a, int64_t p, double rate) noexcept nogil:
    cdef double mean = mean_value(a, p, rate)
    cdef double u = unshrunk(&a[p + 1], rate), w = unshrunk(&a[a[p].right], rate)
    return (((<double>a[p + 1].count * u) * u + (<double>a[a[p].right].count * w) * w)
            - (<double>a[p].count * mean) * mean)

cdef bint predictor_shape(Split* a, int64_t n, const uint8_t* leaf, int64_t* owners) noexcept nogil:
    cdef int64_t p, top = 0
    cdef uint32_t here = 0
    for p in range(n):
        a[p].depth = here
        a[p].is_leaf = leaf[p]
        if leaf[p]:
            a[p].left = 0
            a[p].right = 0
            if top == 0:
                return p == n - 1
            top -= 1
            a[owners[2 * top]].right = <uint32_t>(p + 1)
            here = <uint32_t>owners[2 * top + 1]
        else:
            a[p].left = <uint32_t>(p + 1)
            here += 1
            owners[2 * top] = p
            owners[2 * top + 1] = here
            top += 1
    return False

def fill_predictors(const int64_t[::1] sizes, const double[::1] rates, const uint8_t[::1] leaf,
                    const uint32_t[::1] leaf_counts, const uint32_t[::1] more_counts,
                    const int64_t[::1] features, const uint8_t[::1] bins,
                    const uint8_t[::1] categorical, const uint32_t[::1] bitsets,
                    const uint8_t[::1] missing, const uint64_t[::1] thresholds,
                    const double[::1] leaf_values, const uint64_t[::1] values,
                    const double[::1] leaf_gains, const uint64_t[::1] gains, uint8_t[::1] nodes):
    """Fill the nodes of trees in a row; leaves' and inner nodes' numbers are given in preorder."""
    cdef int64_t t, p, q, n, base = 0, leaves = 0, inners = 0, first_leaf, first_inner
    cdef int64_t total = leaf.shape[0], inner_count = features.shape[0], deepest = 0
    cdef Split* a
    cdef uint32_t counted
    cdef int64_t* owners
    cdef bint ok = True
    if nodes.shape[0] != total * sizeof(Split) or rates.shape[0] != sizes.shape[0]:
        raise ValueError("memory of another size than the trees'")
    if (more_counts.shape[0] != inner_count or bins.shape[0] != inner_count
            or categorical.shape[0] != inner_count or bitsets.shape[0] != inner_count
            or missing.shape[0] != inner_count or thresholds.shape[0] != inner_count
            or values.shape[0] != inner_count or gains.shape[0] != inner_count):
        raise ValueError("columns of different lengths")
    if leaf_values.shape[0] != leaf_counts.shape[0] or leaf_gains.shape[0] != leaf_counts.shape[0]:
        raise ValueError("columns of different lengths")
    if total == 0 or inner_count + leaf_counts.shape[0] != total:
        raise ValueError("leaf flags that are no tree's")
    for t in range(sizes.shape[0]):
        if sizes[t] < 1 or sizes[t] > total - base:
            raise ValueError("leaf flags that are no tree's")
        base += sizes[t]
        deepest = max(deepest, sizes[t])
    if base != total:
        raise ValueError("leaf flags that are no tree's")
    for p in range(total):
        leaves += leaf[p] != 0
    if leaves != leaf_counts.shape[0]:
        raise ValueError("leaf flags that are no tree's")
    owners = <int64_t*>malloc((deepest + 1) * 16)
    if owners == NULL:
        raise MemoryError("decoding trees")
    base = 0
    leaves = 0
    with nogil:
        for t in range(sizes.shape[0]):
            n = sizes[t]
            a = <Split*>&nodes[0] + base
            if not predictor_shape(a, n, &leaf[base], owners):
                ok = False
                break
            first_inner = inners
            counted = 0
            for p in range(n):
                if a[p].is_leaf:
                    a[p].count = leaf_counts[leaves]
                    a[p].value = leaf_values[leaves]
                    a[p].gain = leaf_gains[leaves]
                    a[p].feature = 0
                    a[p].threshold = 0.0
                    a[p].missing = 0
                    a[p].bin = 0
                    a[p].is_categorical = 0
                    a[p].bitset = 0
                    leaves += 1
                else:
                    a[p].feature = features[inners]
                    a[p].threshold = from_bits(thresholds[inners])
                    a[p].bin = bins[inners]
                    a[p].is_categorical = categorical[inners]
                    a[p].bitset = bitsets[inners]
                    if categorical[inners]:
                        a[p].bitset += counted
                        counted += categorical[inners]
                    inners += 1
            q = inners
            for p in range(n - 1, -1, -1):
                if not a[p].is_leaf:
                    q -= 1
                    a[p].count = a[p + 1].count + a[a[p].right].count + more_counts[q]
                    a[p].value = corrected(values[q], mean_value(a, p, rates[t]))
                    a[p].gain = corrected(gains[q], gain_of(a, p, rates[t]))
                    a[p].missing = missing[q] ^ (a[p + 1].count > a[a[p].right].count)
            base += n
    free(owners)
    if not ok:
        raise ValueError("leaf flags that are no tree's")
