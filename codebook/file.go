package codebook

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"

	"github.com/alkimiadev/alknet-firewall/internal/safetensors"
)

// The layout is drawn in docs/formats/codebook.md.

const fileFormat = "alknet-firewall codebook"

// fileHeader is the "codebook" entry of the metadata: everything that is not an
// array of numbers.
type fileHeader struct {
	Signals   []fileSignal `json:"signals"`
	Extras    []fileExtra  `json:"extras"`
	Novelty   linear       `json:"novelty"`
	Outside   int          `json:"outside"`
	Grid      int          `json:"grid"`
	MinCell   int          `json:"min_cell"`
	Tables    []fileTable  `json:"tables"`
	Exemplars []Exemplar   `json:"exemplars"`
	Origin    Origin       `json:"origin"`
}

type fileSignal struct {
	Name     string    `json:"name"`
	Weights  []float64 `json:"weights"`
	Document linear    `json:"document"`
	Spectrum []float64 `json:"spectrum"`
	Sources  int       `json:"sources"`
}

type fileExtra struct {
	Name  string `json:"name"`
	Curve Curve  `json:"curve"`
}

type fileTable struct {
	Score   string `json:"score"`
	Channel string `json:"channel"`
	Stratum int    `json:"stratum"`
	N       int    `json:"n"`
	Entries int    `json:"entries"`
}

// Write writes the codebook as one safetensors file. The same codebook gives the
// same bytes.
func (c *Codebook) Write(w io.Writer) error {
	tensors, meta, err := c.tensors()
	if err == nil {
		err = safetensors.Write(w, tensors, meta)
	}
	if err != nil {
		return fmt.Errorf("codebook: write: %w", err)
	}
	return nil
}

// WriteFile writes the codebook to a file that appears whole or not at all.
func (c *Codebook) WriteFile(path string) error {
	tensors, meta, err := c.tensors()
	if err == nil {
		err = safetensors.WriteFile(path, tensors, meta)
	}
	if err != nil {
		return fmt.Errorf("codebook: write: %w", err)
	}
	return nil
}

func (c *Codebook) tensors() ([]safetensors.Tensor, map[string]string, error) {
	h := fileHeader{Novelty: c.novelty, Outside: c.outside, Grid: len(c.curves[0].benign), MinCell: c.minCell, Exemplars: c.samples, Origin: c.origin}
	for _, s := range c.signals {
		h.Signals = append(h.Signals, fileSignal{s.name, s.weights, s.linear, s.spectrum, s.sources})
	}
	for _, e := range c.extras {
		h.Extras = append(h.Extras, fileExtra{e.name, e.curve})
	}
	var at []float32
	var above []byte
	for _, t := range c.tables {
		h.Tables = append(h.Tables, fileTable{c.scoreName(t.score), t.channel, t.stratum, t.n, len(t.at)})
		at = append(at, t.at...)
		for _, n := range t.above {
			above = binary.LittleEndian.AppendUint32(above, uint32(n))
		}
	}
	var grid, benign, attack, tail []float32
	for _, d := range c.curves {
		grid = append(grid, d.lo, d.step)
		benign = append(benign, d.benign...)
		attack = append(attack, d.attack...)
		tail = append(tail, d.tail...)
	}
	spec, err := json.Marshal(c.spec)
	if err != nil {
		return nil, nil, err
	}
	header, err := json.Marshal(h)
	if err != nil {
		return nil, nil, err
	}
	w, n := c.spec.Width(), c.coordinates()
	tensors := []safetensors.Tensor{
		safetensors.FromFloat32("center", []int{w}, c.center),
		safetensors.FromFloat32("inverse_scale", []int{w}, c.inverse),
		safetensors.FromFloat32("basis", []int{len(c.basis) / w, w}, c.basis),
		safetensors.FromFloat32("density.grid", []int{n + 1, 2}, grid),
		safetensors.FromFloat32("density.benign", []int{n + 1, h.Grid}, benign),
		safetensors.FromFloat32("density.attack", []int{n, h.Grid}, attack),
		safetensors.FromFloat32("density.tail", []int{n + 1, h.Grid}, tail),
		safetensors.FromFloat32("calibration.score", []int{len(at)}, at),
		{Name: "calibration.above", DType: safetensors.I32, Shape: []int{len(at)}, Data: above},
		safetensors.FromFloat32("exemplars", []int{len(c.samples), n}, c.coords),
	}
	return tensors, map[string]string{
		"format": fileFormat, "version": strconv.Itoa(FormatVersion), "spec": string(spec), "codebook": string(header),
	}, nil
}

// Read reads what [Codebook.Write] wrote; data is not kept. Whatever the bytes,
// it returns an error or a codebook whose scores are finite: every shape, number,
// order and bound is checked, in time and memory linear in the file.
func Read(data []byte) (*Codebook, error) {
	c, err := read(data)
	if err != nil {
		return nil, fmt.Errorf("codebook: read: %w", err)
	}
	return c, nil
}

func read(data []byte) (*Codebook, error) {
	f, err := openFormat(data, fileFormat)
	if err != nil {
		return nil, err
	}
	c := &Codebook{}
	var h fileHeader
	for key, v := range map[string]any{"spec": &c.spec, "codebook": &h} {
		text, ok := f.meta[key]
		if !ok {
			return nil, fmt.Errorf("%w: metadata %q", ErrMissing, key)
		}
		if err := decodeJSON([]byte(text), v); err != nil {
			return nil, fmt.Errorf("metadata %q: %w", key, err)
		}
	}
	// Every count is bounded before anything is multiplied.
	if err := c.spec.check(); err != nil {
		return nil, err
	}
	if len(h.Signals) < 1 || len(h.Signals)+len(h.Extras) > maxSignals {
		return nil, fmt.Errorf("%w: %d signals and %d extras", ErrBound, len(h.Signals), len(h.Extras))
	}
	n := 0
	for _, s := range h.Signals {
		if len(s.Weights) < 1 || len(s.Weights) > maxCoords {
			return nil, fmt.Errorf("%w: signal %.80q has %d coordinates", ErrBound, s.Name, len(s.Weights))
		}
		c.signals = append(c.signals, signal{name: s.Name, first: n, k: len(s.Weights), weights: s.Weights, linear: s.Document, spectrum: s.Spectrum, sources: s.Sources})
		n += len(s.Weights)
	}
	for _, e := range h.Extras {
		c.extras = append(c.extras, extra{e.Name, e.Curve})
	}
	if h.Outside < 0 || h.Outside > n || h.Grid < 2 || h.Grid > maxGrid || len(h.Tables) > maxCells || len(h.Exemplars) > maxExemplar {
		return nil, fmt.Errorf("%w: %d outside rows, grid of %d, %d tables, %d exemplars", ErrBound, h.Outside, h.Grid, len(h.Tables), len(h.Exemplars))
	}
	c.novelty, c.outside, c.minCell, c.samples, c.origin = h.Novelty, h.Outside, h.MinCell, h.Exemplars, h.Origin

	w := c.spec.Width()
	var grid, benign, attack, tail, at []float32
	for _, t := range []struct {
		name  string
		dst   *[]float32
		shape []int
	}{
		{"center", &c.center, []int{w}},
		{"inverse_scale", &c.inverse, []int{w}},
		{"basis", &c.basis, []int{n + h.Outside, w}},
		{"density.grid", &grid, []int{n + 1, 2}},
		{"density.benign", &benign, []int{n + 1, h.Grid}},
		{"density.attack", &attack, []int{n, h.Grid}},
		{"density.tail", &tail, []int{n + 1, h.Grid}},
		{"exemplars", &c.coords, []int{len(h.Exemplars), n}},
	} {
		if *t.dst, err = f.float32s(t.name, t.shape...); err != nil {
			return nil, err
		}
	}
	for i := range n + 1 {
		d := density{lo: grid[2*i], step: grid[2*i+1], benign: benign[i*h.Grid : (i+1)*h.Grid], tail: tail[i*h.Grid : (i+1)*h.Grid]}
		if i < n {
			d.attack = attack[i*h.Grid : (i+1)*h.Grid]
		}
		c.curves = append(c.curves, d)
	}

	entries := 0
	for _, t := range h.Tables {
		if t.Entries < 1 || t.Entries > maxEntries-entries {
			return nil, fmt.Errorf("%w: calibration entries", ErrBound)
		}
		entries += t.Entries
	}
	if at, err = f.float32s("calibration.score", entries); err != nil {
		return nil, err
	}
	above, err := f.int32s("calibration.above", entries)
	if err != nil {
		return nil, err
	}
	names := append(c.Signals(), Novelty, Composite)
	for i, t := range h.Tables {
		score := slices.Index(names, t.Score)
		if score < 0 {
			return nil, fmt.Errorf("%w: calibration table %d is of no signal", ErrBound, i)
		}
		c.tables = append(c.tables, table{score, t.Channel, t.Stratum, t.N, at[:t.Entries:t.Entries], above[:t.Entries:t.Entries]})
		at, above = at[t.Entries:], above[t.Entries:]
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	for i := range c.curves {
		if f.version == 1 {
			c.curves[i].bound(maxRatio, false)
		}
		c.curves[i].makeRatio()
	}
	return c, nil
}

// check holds for every codebook, fitted or read. Shapes are right already.
func (c *Codebook) check() error {
	seen := map[string]bool{Novelty: true, Composite: true}
	for _, name := range c.Signals() {
		if !checkName(name) || seen[name] {
			return fmt.Errorf("%w: name of signal %.80q", ErrBound, name)
		}
		seen[name] = true
	}
	if c.minCell < 1 {
		return fmt.Errorf("%w: min_cell %d", ErrBound, c.minCell)
	}
	// Bounds that keep every product and sum of a score finite in float32: a
	// standardised channel is at most Clip, a row at most 2¹⁸ channels wide.
	for _, v := range []struct {
		name  string
		data  []float32
		bound float64
	}{{"center", c.center, 1e9}, {"inverse_scale", c.inverse, 1e13}, {"basis", c.basis, 1e6}, {"exemplars", c.coords, 1e13}} {
		for i, x := range v.data {
			if !finite(float64(x)) {
				return fmt.Errorf("%w: %s, element %d", ErrNotFinite, v.name, i)
			}
			if math.Abs(float64(x)) > v.bound {
				return fmt.Errorf("%w: %s, element %d", ErrBound, v.name, i)
			}
		}
	}
	for i, x := range c.inverse {
		if x < 0 {
			return fmt.Errorf("%w: inverse_scale, element %d is negative", ErrBound, i)
		}
	}
	for _, s := range c.signals {
		if len(s.spectrum) > maxSources || s.sources < 0 {
			return fmt.Errorf("%w: spectrum of %q", ErrBound, s.name)
		}
		for i, v := range s.spectrum {
			if !finite(v) {
				return fmt.Errorf("%w: spectrum of %q", ErrNotFinite, s.name)
			}
			if v < 0 || i > 0 && v > s.spectrum[i-1] {
				return fmt.Errorf("%w: spectrum of %q", ErrMonotone, s.name)
			}
		}
		for _, v := range s.weights {
			if err := coefficient(v, 0); err != nil {
				return fmt.Errorf("%w: weights of %q", err, s.name)
			}
		}
		if err := s.linear.check(); err != nil {
			return fmt.Errorf("%w: document log-odds of %q", err, s.name)
		}
	}
	if err := c.novelty.check(); err != nil {
		return fmt.Errorf("%w: novelty", err)
	}
	for _, e := range c.extras {
		if err := e.curve.check(); err != nil {
			return fmt.Errorf("extra %q: %w", e.name, err)
		}
	}
	for i := range c.curves {
		if err := c.curves[i].check(); err != nil {
			return fmt.Errorf("coordinate %d: %w", i, err)
		}
	}
	for i, t := range c.tables {
		if t.channel != "" && !checkName(t.channel) || t.stratum < anyStratum || t.stratum >= strata {
			return fmt.Errorf("%w: calibration table %d: its cell", ErrBound, i)
		}
		if i > 0 && c.tables[i-1].compare(t) >= 0 {
			return fmt.Errorf("%w: calibration table %d: order of cells", ErrMonotone, i)
		}
		if err := t.check(); err != nil {
			return fmt.Errorf("calibration table %d: %w", i, err)
		}
	}
	for i := range c.scores() { // every query has an answer
		if _, ok := slices.BinarySearchFunc(c.tables, table{score: i, stratum: anyStratum}, table.compare); !ok {
			return fmt.Errorf("%w: calibration of %q over all channels", ErrMissing, c.scoreName(i))
		}
	}
	for i, e := range c.samples {
		if len(e.ID) > maxString || len(e.Source) > maxString || len(e.Signals) > maxSignals {
			return fmt.Errorf("%w: exemplar %d", ErrBound, i)
		}
	}
	return nil
}

func (l linear) check() error {
	return errors.Join(coefficient(l.Bias, -maxLogOdds), coefficient(l.Slope, 0), coefficient(l.Length, 0))
}

func coefficient(v, lo float64) error {
	switch {
	case !finite(v):
		return ErrNotFinite
	case v < lo || v > maxLogOdds:
		return ErrBound
	}
	return nil
}

// formatFile is a safetensors file of one of our formats.
type formatFile struct {
	file    *safetensors.File
	meta    map[string]string
	version int
}

// openFormat parses the container and checks format and version.
func openFormat(data []byte, format string) (*formatFile, error) {
	file, err := safetensors.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	f := &formatFile{file: file, meta: file.Metadata()}
	if got := f.meta["format"]; got != format {
		return nil, fmt.Errorf("%w: its format is %.80q, want %q", ErrFormat, got, format)
	}
	f.version, err = strconv.Atoi(f.meta["version"])
	if err != nil || f.version < 1 {
		return nil, fmt.Errorf("%w: version %.80q", ErrFormat, f.meta["version"])
	}
	if f.version > FormatVersion {
		return nil, fmt.Errorf("%w: version %d, this build reads %d", ErrVersion, f.version, FormatVersion)
	}
	return f, nil
}

func (f *formatFile) tensor(name string, dtype safetensors.DType, shape []int) (safetensors.Tensor, error) {
	t, err := f.file.Tensor(name)
	switch {
	case err != nil:
		return t, fmt.Errorf("%w: tensor %q", ErrMissing, name)
	case t.DType != dtype:
		return t, fmt.Errorf("%w: tensor %q is %s, want %s", ErrShape, name, t.DType, dtype)
	case shape != nil && !slices.Equal(t.Shape, shape):
		return t, fmt.Errorf("%w: tensor %q is %v, want %v", ErrShape, name, t.Shape, shape)
	}
	return t, nil
}

func (f *formatFile) bytes(name string) ([]byte, error) {
	t, err := f.tensor(name, safetensors.U8, nil)
	return t.Data, err
}

func (f *formatFile) float32s(name string, shape ...int) ([]float32, error) {
	t, err := f.tensor(name, safetensors.F32, shape)
	if err != nil {
		return nil, err
	}
	return t.AppendFloat32(nil)
}

func (f *formatFile) int32s(name string, shape ...int) ([]int32, error) {
	t, err := f.tensor(name, safetensors.I32, shape)
	if err != nil {
		return nil, err
	}
	out := make([]int32, 0, len(t.Data)/4)
	for b := t.Data; len(b) >= 4; b = b[4:] {
		out = append(out, int32(binary.LittleEndian.Uint32(b)))
	}
	return out, nil
}

func (f *formatFile) float64s(name string, shape ...int) ([]float64, error) {
	t, err := f.tensor(name, safetensors.F64, shape)
	if err != nil {
		return nil, err
	}
	out := make([]float64, 0, len(t.Data)/8)
	for b := t.Data; len(b) >= 8; b = b[8:] {
		x := math.Float64frombits(binary.LittleEndian.Uint64(b))
		if !finite(x) {
			return nil, fmt.Errorf("%w: tensor %q, element %d", ErrNotFinite, name, len(out))
		}
		out = append(out, x)
	}
	return out, nil
}

func (f *formatFile) halves(name string, shape ...int) ([]uint16, error) {
	t, err := f.tensor(name, safetensors.F16, shape)
	if err != nil {
		return nil, err
	}
	out := make([]uint16, 0, len(t.Data)/2)
	for b := t.Data; len(b) >= 2; b = b[2:] {
		h := binary.LittleEndian.Uint16(b)
		if h&0x7c00 == 0x7c00 {
			return nil, fmt.Errorf("%w: tensor %q, element %d", ErrNotFinite, name, len(out))
		}
		out = append(out, h)
	}
	return out, nil
}

// decodeJSON decodes one strict JSON value.
func decodeJSON(text []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("%w: more than one JSON value", ErrFormat)
	}
	return nil
}
