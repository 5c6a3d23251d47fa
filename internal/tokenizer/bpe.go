package tokenizer

import (
	"cmp"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
)

// A merge is what becomes of two neighbouring tokens.
type merge struct {
	key  uint64 // left id << 32 | right id; noMerge marks an empty slot
	rank int32  // lower merges first
	id   int32  // the token that they become
}

const noMerge = math.MaxUint64

// A mergeTable finds merges: open addressing, at most half full.
type mergeTable struct {
	slots []merge
	shift int
	ranks int    // merges in the file
	seed  uint64 // differs from table to table, so that a vocabulary cannot be built to collide; results do not depend on it
}

func newMergeTable(n int) *mergeTable {
	t := &mergeTable{shift: 64 - bits.Len(uint(2*n+1)), ranks: n, seed: rand.Uint64()}
	t.slots = make([]merge, 1<<(64-t.shift))
	for i := range t.slots {
		t.slots[i].key = noMerge
	}
	return t
}

// slot returns where key is, or where it would be put.
func (t *mergeTable) slot(key uint64) *merge {
	h := (key ^ t.seed) * 0x9E3779B97F4A7C15 // 2⁶⁴/φ, odd
	h = (h ^ h>>32) * 0xD6E8FEB86659FD93
	for i := h >> t.shift; ; i = (i + 1) & uint64(len(t.slots)-1) {
		if s := &t.slots[i]; s.key == key || s.key == noMerge {
			return s
		}
	}
}

// put adds a merge. Of two for the same pair the later counts, as in the reference.
func (t *mergeTable) put(left, right, rank, id int32) {
	key := uint64(left)<<32 | uint64(right)
	*t.slot(key) = merge{key, rank, id}
}

// find returns rank<<32 | id of the merge of two tokens, or noMerge.
func (t *mergeTable) find(left, right int32) uint64 {
	if s := t.slot(uint64(left)<<32 | uint64(right)); s.key != noMerge {
		return uint64(s.rank)<<32 | uint64(s.id)
	}
	return noMerge
}

// A symbol is a token of a word that is being merged, and the bytes of the view that it covers.
type symbol struct {
	id     int32
	lo, hi int32
}

// smallWord is the number of symbols up to which merging looks at every pair for the best one: quadratic, but without a
// data structure to set up. Words are seldom longer.
const smallWord = 48

// merge applies the merges to syms, always the one of lowest rank and of these the leftmost, until none applies, and returns what is
// left, in the same memory.
func (t *mergeTable) merge(syms []symbol, s *scratch) []symbol {
	if len(syms) > smallWord {
		return t.mergeLong(syms, s)
	}
	var pairs [smallWord]uint64 // rank<<32 | id of syms[i] with syms[i+1]
	for i := range len(syms) - 1 {
		pairs[i] = t.find(syms[i].id, syms[i+1].id)
	}
	for n := len(syms); n > 1; {
		best := 0
		for i := 1; i < n-1; i++ {
			if pairs[i] < pairs[best] {
				best = i
			}
		}
		if pairs[best] == noMerge {
			break
		}
		syms[best].id = int32(uint32(pairs[best]))
		syms[best].hi = syms[best+1].hi
		n--
		copy(syms[best+1:n], syms[best+2:])
		copy(pairs[best:n-1], pairs[best+1:n])
		syms = syms[:n]
		if best > 0 {
			pairs[best-1] = t.find(syms[best-1].id, syms[best].id)
		}
		if best < n-1 {
			pairs[best] = t.find(syms[best].id, syms[best+1].id)
		}
	}
	return syms
}

// A queue holds the places where merges may apply: a list for each rank, and a heap for what comes before the rank that is being swept.
// Its memory is 8 bytes for each merge of the vocabulary and is made for the first long word.
type queue struct {
	ranks heap[uint32] // those whose lists have places, each once
	lists []list       // by rank
	nodes []node       // of all lists; 0 is not used, so that the zero list is empty
	sweep []int32      // the places of the rank that is being swept
	early heap[uint64] // rank<<32 | place, not above that rank
}

type list struct{ first, last int32 }

type node struct{ place, next int32 }

// add puts a place at the end of the list of its rank.
func (q *queue) add(rank uint32, place int32) {
	q.nodes = append(q.nodes, node{place, 0})
	n := int32(len(q.nodes) - 1)
	l := &q.lists[rank]
	if l.first == 0 {
		l.first = n
		q.ranks.push(rank)
	} else {
		q.nodes[l.last].next = n
	}
	l.last = n
}

// take removes the lowest rank with its places, which it returns in order.
func (q *queue) take() (rank uint32, places []int32) {
	rank = q.ranks.pop()
	places = q.sweep[:0]
	for n := q.lists[rank].first; n != 0; n = q.nodes[n].next {
		places = append(places, q.nodes[n].place)
	}
	q.lists[rank] = list{}
	if !slices.IsSorted(places) {
		slices.Sort(places)
	}
	q.sweep = places
	return rank, places
}

// mergeLong is merge for words of any length, in time n log n. Ranks are swept from left to right, so that memory is walked in order: with
// one heap of all places, ten megabytes of one letter took 13 s instead of 1.4 s. What a merge makes possible at a later rank joins that
// rank's list; what it makes possible at this one or before it, which happens where one token is made by several merges, is done
// in between.
func (t *mergeTable) mergeLong(syms []symbol, s *scratch) []symbol {
	n := int32(len(syms))
	q := &s.queue
	if len(q.lists) < t.ranks {
		q.lists = make([]list, t.ranks)
	}
	q.nodes = append(q.nodes[:0], node{})
	next, prev := s.next[:0], s.prev[:0]
	for i := range n {
		next = append(next, i+1)
		prev = append(prev, i-1)
		if i+1 < n {
			if m := t.find(syms[i].id, syms[i+1].id); m != noMerge {
				q.add(uint32(m>>32), i)
			}
		}
	}
	s.next, s.prev = next, prev
	for len(q.ranks) > 0 {
		current, places := q.take()
		for len(places) > 0 || len(q.early) > 0 {
			var rank uint32
			var i int32
			if len(places) == 0 || len(q.early) > 0 && q.early[0] < uint64(current)<<32|uint64(places[0]) {
				top := q.early.pop()
				rank, i = uint32(top>>32), int32(uint32(top))
			} else {
				rank, i = current, places[0]
				places = places[1:]
			}
			j := next[i]
			if j >= n || syms[i].id < 0 {
				continue
			}
			m := t.find(syms[i].id, syms[j].id)
			if m == noMerge || uint32(m>>32) != rank {
				continue // the pair that was here has been merged with a neighbour since
			}
			syms[i].id, syms[i].hi = int32(uint32(m)), syms[j].hi
			syms[j].id = -1
			after := next[j]
			next[i] = after
			if after < n {
				prev[after] = i
				q.found(t.find(syms[i].id, syms[after].id), i, current)
			}
			if before := prev[i]; before >= 0 {
				q.found(t.find(syms[before].id, syms[i].id), before, current)
			}
		}
	}
	out := syms[:0]
	for i := int32(0); i < n; i = next[i] {
		out = append(out, syms[i])
	}
	return out
}

// found takes up a merge that has become possible while rank current is being swept.
func (q *queue) found(m uint64, place int32, current uint32) {
	switch rank := uint32(m >> 32); {
	case m == noMerge:
	case rank > current:
		q.add(rank, place)
	default:
		q.early.push(uint64(rank)<<32 | uint64(place))
	}
}

// A heap is a binary min-heap.
type heap[T cmp.Ordered] []T

func (h *heap[T]) push(x T) {
	*h = append(*h, x)
	a := *h
	i := len(a) - 1
	for i > 0 && a[(i-1)/2] > x {
		a[i] = a[(i-1)/2]
		i = (i - 1) / 2
	}
	a[i] = x
}

func (h *heap[T]) pop() T {
	a := *h
	top, x := a[0], a[len(a)-1]
	a = a[:len(a)-1]
	*h = a
	for i := 0; len(a) > 0; {
		c := 2*i + 1
		if c+1 < len(a) && a[c+1] < a[c] {
			c++
		}
		if c >= len(a) || a[c] >= x {
			a[i] = x
			break
		}
		a[i] = a[c]
		i = c
	}
	return top
}
