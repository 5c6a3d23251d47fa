package tokenizer

import (
	"math"
	"math/bits"
	"math/rand/v2"
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
	seed  uint64 // differs from table to table, so that a vocabulary cannot be built to collide; results do not depend on it
}

func newMergeTable(n int) *mergeTable {
	t := &mergeTable{shift: 64 - bits.Len(uint(2*n+1)), seed: rand.Uint64()}
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
// data structure to set up. Measured: the heap wins from about 60 on.
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

// mergeLong is merge for words of any length, in time n log n: the pairs wait in a heap ordered by rank and place.
func (t *mergeTable) mergeLong(syms []symbol, s *scratch) []symbol {
	n := int32(len(syms))
	s.next, s.prev, s.heap = s.next[:0], s.prev[:0], s.heap[:0]
	for i := range n {
		s.next = append(s.next, i+1)
		s.prev = append(s.prev, i-1)
		if i+1 < n {
			if m := t.find(syms[i].id, syms[i+1].id); m != noMerge {
				s.heap = append(s.heap, m&^math.MaxUint32|uint64(i))
			}
		}
	}
	s.heap.init()
	for len(s.heap) > 0 {
		top := s.heap.pop()
		i := int32(uint32(top))
		j := s.next[i]
		if j >= n || syms[i].id < 0 {
			continue
		}
		m := t.find(syms[i].id, syms[j].id)
		if m == noMerge || m>>32 != top>>32 {
			continue // the pair that was here has been merged with a neighbour since
		}
		syms[i].id, syms[i].hi = int32(uint32(m)), syms[j].hi
		syms[j].id = -1
		k := s.next[j]
		s.next[i] = k
		if k < n {
			s.prev[k] = i
			if m := t.find(syms[i].id, syms[k].id); m != noMerge {
				s.heap.push(m&^math.MaxUint32 | uint64(i))
			}
		}
		if h := s.prev[i]; h >= 0 {
			if m := t.find(syms[h].id, syms[i].id); m != noMerge {
				s.heap.push(m&^math.MaxUint32 | uint64(h))
			}
		}
	}
	out := syms[:0]
	for i := int32(0); i < n; i = s.next[i] {
		out = append(out, syms[i])
	}
	return out
}

// A pairHeap is a 4-ary min-heap of rank<<32 | place.
type pairHeap []uint64

func (h pairHeap) init() {
	for i := len(h)/4 + 1; i >= 0; i-- {
		h.down(i)
	}
}

func (h *pairHeap) push(x uint64) {
	*h = append(*h, x)
	a := *h
	i := len(a) - 1
	for i > 0 {
		p := (i - 1) / 4
		if a[p] <= x {
			break
		}
		a[i] = a[p]
		i = p
	}
	a[i] = x
}

func (h *pairHeap) pop() uint64 {
	a := *h
	top := a[0]
	a[0] = a[len(a)-1]
	*h = a[:len(a)-1]
	h.down(0)
	return top
}

func (h pairHeap) down(i int) {
	if i >= len(h) {
		return
	}
	x := h[i]
	for {
		c := 4*i + 1
		if c >= len(h) {
			break
		}
		for k, end := c+1, min(c+4, len(h)); k < end; k++ {
			if h[k] < h[c] {
				c = k
			}
		}
		if h[c] >= x {
			break
		}
		h[i] = h[c]
		i = c
	}
	h[i] = x
}
