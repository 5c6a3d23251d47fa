package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v4"

	firewall "github.com/alkimiadev/alknet-firewall"
	"github.com/alkimiadev/alknet-firewall/internal/reading"
)

// Settings have one name and one sentence in three places: as a flag, as an
// environment variable (ALKNET_FIREWALL_ALARM_RATE) and as a key of the
// configuration file (alarm_rate). A flag wins over the environment, the
// environment over the file, the file over the default.

// envPrefix begins the name of every environment variable.
const envPrefix = "ALKNET_FIREWALL_"

// maxConfigBytes bounds the configuration file.
const maxConfigBytes = 1 << 20 // 1 MiB

// A setting is one row of the table.
type setting struct {
	key  string
	def  string
	help string
	set  func(o *firewall.Options, value string) error
}

func float(dst func(*firewall.Options) *float64) func(*firewall.Options, string) error {
	return func(o *firewall.Options, v string) error {
		x, err := strconv.ParseFloat(v, 64)
		if err != nil {
			return errors.New("not a number")
		}
		*dst(o) = x
		return nil
	}
}

func integer(dst func(*firewall.Options) *int) func(*firewall.Options, string) error {
	return func(o *firewall.Options, v string) error {
		x, err := strconv.Atoi(v)
		if err != nil {
			return errors.New("not a whole number")
		}
		*dst(o) = x
		return nil
	}
}

func list(v string) []string {
	var out []string
	for s := range strings.SplitSeq(v, ",") {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

var table = []setting{
	{"model", "", "directory of the detector model; empty: the embedded detector", func(o *firewall.Options, v string) error {
		if v != "" {
			o.Model = firewall.Dir(v)
		}
		return nil
	}},
	{"codebook", "", "codebook file; empty: the model's own", func(o *firewall.Options, v string) error {
		o.Codebook = v
		return nil
	}},
	{"arithmetic", "", "arithmetic of the model, f32 or int8, for calibrate (default int8) and for measuring; empty: the one that the codebook was calibrated with", func(o *firewall.Options, v string) error {
		o.Arithmetic = v
		return nil
	}},
	{"watch_rate", "0.05", "share of clean texts that may reach watch", float(func(o *firewall.Options) *float64 { return &o.Policy.WatchRate })},
	{"alarm_rate", "0.01", "share of clean texts that may raise an alarm", float(func(o *firewall.Options) *float64 { return &o.Policy.AlarmRate })},
	{"signals", "", "signals that may raise a level, comma-separated; empty: all but novelty", func(o *firewall.Options, v string) error {
		o.Policy.Signals = list(v)
		return nil
	}},
	{"action", "flag", "what an alarm does: pass, flag or block", func(o *firewall.Options, v string) error {
		o.Policy.Action = firewall.Action(v)
		return nil
	}},
	{"fail_open", "", "error classes on which an unscreened text is passed on, comma-separated; empty: none", func(o *firewall.Options, v string) error {
		for _, c := range list(v) {
			o.Policy.FailOpen = append(o.Policy.FailOpen, firewall.Class(c))
		}
		return nil
	}},
	{"max_bytes", "16777216", "longest text, in bytes", integer(func(o *firewall.Options) *int { return &o.MaxBytes })},
	{"threads", "0", "threads of the model; 0: one a core", integer(func(o *firewall.Options) *int { return &o.Threads })},
	{"events", "", "file that alarm events are appended to, one JSON object a line; empty: none", func(*firewall.Options, string) error { return nil }},
}

// settings are the effective values and where each came from.
type settings struct {
	file   string
	cmd    *pflag.FlagSet
	values map[string]string
	origin map[string]string
	perCh  map[string]channelPolicy
}

// channelPolicy is a policy of one channel in the configuration file. What it
// leaves out is taken from the settings of the same name.
type channelPolicy struct {
	WatchRate *float64  `yaml:"watch_rate"`
	AlarmRate *float64  `yaml:"alarm_rate"`
	Signals   *[]string `yaml:"signals"`
	Action    *string   `yaml:"action"`
	FailOpen  *[]string `yaml:"fail_open"`
}

// fileConfig is the form of the configuration file. Keys that are not in it
// are errors.
type fileConfig struct {
	Model      *string                  `yaml:"model"`
	Codebook   *string                  `yaml:"codebook"`
	Arithmetic *string                  `yaml:"arithmetic"`
	WatchRate  *float64                 `yaml:"watch_rate"`
	AlarmRate  *float64                 `yaml:"alarm_rate"`
	Signals    *[]string                `yaml:"signals"`
	Action     *string                  `yaml:"action"`
	FailOpen   *[]string                `yaml:"fail_open"`
	MaxBytes   *int                     `yaml:"max_bytes"`
	Threads    *int                     `yaml:"threads"`
	Events     *string                  `yaml:"events"`
	Channels   map[string]channelPolicy `yaml:"channels"`
}

func flagName(key string) string { return strings.ReplaceAll(key, "_", "-") }
func envName(key string) string  { return envPrefix + strings.ToUpper(key) }

// flags declares a flag for every setting.
func (s *settings) flags(root *cobra.Command) {
	f := root.PersistentFlags()
	f.StringVar(&s.file, "config", "", "configuration file (default: "+envPrefix+"CONFIG, else alknet-firewall.yaml in the user's configuration directory, if there is one)")
	for _, t := range table {
		help := t.help
		if t.def != "" {
			help += " (default " + t.def + ")"
		}
		f.String(flagName(t.key), "", help)
	}
	s.cmd = f
}

// load works out every setting.
func (s *settings) load() error {
	s.values, s.origin = map[string]string{}, map[string]string{}
	for _, t := range table {
		s.values[t.key], s.origin[t.key] = t.def, "default"
	}
	if err := s.loadFile(); err != nil {
		return err
	}
	known := map[string]bool{envPrefix + "CONFIG": true}
	for _, t := range table {
		known[envName(t.key)] = true
		if v, ok := os.LookupEnv(envName(t.key)); ok {
			s.values[t.key], s.origin[t.key] = v, "environment "+envName(t.key)
		}
		if f := s.cmd.Lookup(flagName(t.key)); f.Changed {
			s.values[t.key], s.origin[t.key] = f.Value.String(), "flag --"+f.Name
		}
	}
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, envPrefix) && !known[name] {
			return fmt.Errorf("environment variable %s is no setting; 'alknet-firewall config check' lists them", name)
		}
	}
	return nil
}

func (s *settings) loadFile() error {
	name, asked := s.file, s.file != ""
	if !asked {
		name, asked = os.LookupEnv(envPrefix + "CONFIG")
		asked = asked && name != ""
	}
	if !asked {
		dir, err := os.UserConfigDir()
		if err != nil {
			return nil // no home, no file
		}
		name = filepath.Join(dir, "alknet-firewall.yaml")
	}
	data, err := reading.ReadBounded(name, maxConfigBytes)
	if errors.Is(err, fs.ErrNotExist) && !asked {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	c, err := parseConfig(data)
	if err != nil {
		return fmt.Errorf("configuration %s: %w", name, err)
	}
	put := func(key string, v any, there bool) {
		if there {
			s.values[key], s.origin[key] = fmt.Sprint(v), "file "+name
		}
	}
	deref := func(p *[]string) string {
		if p == nil {
			return ""
		}
		return strings.Join(*p, ",")
	}
	str := func(key string, p *string) {
		if p != nil {
			put(key, *p, true)
		}
	}
	str("model", c.Model)
	str("codebook", c.Codebook)
	str("arithmetic", c.Arithmetic)
	str("action", c.Action)
	str("events", c.Events)
	put("signals", deref(c.Signals), c.Signals != nil)
	put("fail_open", deref(c.FailOpen), c.FailOpen != nil)
	for key, p := range map[string]*float64{"watch_rate": c.WatchRate, "alarm_rate": c.AlarmRate} {
		if p != nil {
			put(key, *p, true)
		}
	}
	for key, p := range map[string]*int{"max_bytes": c.MaxBytes, "threads": c.Threads} {
		if p != nil {
			put(key, *p, true)
		}
	}
	s.perCh = c.Channels
	return nil
}

// parseConfig reads a configuration file strictly: unknown keys, a second
// document and aliases without end are errors.
func parseConfig(data []byte) (fileConfig, error) {
	var c fileConfig
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&c); err != nil && !errors.Is(err, io.EOF) {
		return c, err
	}
	if err := dec.Decode(new(any)); !errors.Is(err, io.EOF) {
		return c, errors.New("more than one document")
	}
	return c, nil
}

// options turns the settings into Options.
func (s *settings) options() (firewall.Options, error) {
	if err := s.load(); err != nil {
		return firewall.Options{}, err
	}
	var o firewall.Options
	for _, t := range table {
		if err := t.set(&o, s.values[t.key]); err != nil {
			return o, fmt.Errorf("setting %s (%s): %q is %w", t.key, s.origin[t.key], s.values[t.key], err)
		}
	}
	if len(s.perCh) > 0 {
		o.Policies = map[firewall.Channel]firewall.Policy{}
	}
	for ch, c := range s.perCh {
		p := o.Policy
		if c.WatchRate != nil {
			p.WatchRate = *c.WatchRate
		}
		if c.AlarmRate != nil {
			p.AlarmRate = *c.AlarmRate
		}
		if c.Signals != nil {
			p.Signals = *c.Signals
		}
		if c.Action != nil {
			p.Action = firewall.Action(*c.Action)
		}
		if c.FailOpen != nil {
			p.FailOpen = nil
			for _, class := range *c.FailOpen {
				p.FailOpen = append(p.FailOpen, firewall.Class(class))
			}
		}
		o.Policies[firewall.Channel(ch)] = p
	}
	return o, nil
}

// open opens the firewall that the settings describe. closing it also closes
// the events file.
func (s *settings) open(ui *tui) (*firewall.Firewall, func(), error) {
	o, err := s.options()
	if err != nil {
		return nil, nil, err
	}
	var events *os.File
	if name := s.values["events"]; name != "" {
		if events, err = os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
			return nil, nil, fmt.Errorf("open events file: %w", err)
		}
		o.Sink = firewall.JSONLines(events)
		o.SinkError = func(err error) { ui.warn("%v", err) }
	}
	fw, err := firewall.Open(o)
	if err != nil {
		if events != nil {
			events.Close()
		}
		return nil, nil, err
	}
	return fw, func() {
		fw.Close()
		if events != nil {
			if err := events.Close(); err != nil {
				ui.warn("close events file: %v", err)
			}
		}
	}, nil
}

func configCommand(ui *tui, s *settings) *cobra.Command {
	config := &cobra.Command{Use: "config", Short: "Show and check the settings", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		return cmd.Help()
	}}
	config.AddCommand(&cobra.Command{
		Use:     "check",
		Short:   "Print every setting, its value and where it comes from",
		Example: "  alknet-firewall config check",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			o, err := s.options()
			if err == nil {
				_, err = firewall.Open(o)
			}
			for _, t := range table {
				fmt.Fprintf(ui.out, "%-11s %-10s # %s\n", t.key+":", strconv.Quote(s.values[t.key]), s.origin[t.key])
			}
			for _, ch := range slices.Sorted(maps.Keys(o.Policies)) {
				p := o.Policies[ch]
				fmt.Fprintf(ui.out, "channel %s: watch_rate %v, alarm_rate %v, action %s\n", ch, p.WatchRate, p.AlarmRate, p.Action)
			}
			return err
		},
	})
	return config
}
