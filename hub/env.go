package hub

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// An environment looks variables up. A variable that is set to the empty string
// counts as unset: the reference client takes HF_HOME= for the current directory.
type environment func(name string) string

// first returns the first of the variables that is set.
func (env environment) first(names ...string) string {
	for _, n := range names {
		if v := env(n); v != "" {
			return v
		}
	}
	return ""
}

// is tells whether a variable is 1, ON, YES or TRUE, in any case, as the
// reference client reads booleans.
func (env environment) is(name string) bool {
	switch strings.ToUpper(env(name)) {
	case "1", "ON", "YES", "TRUE":
		return true
	}
	return false
}

// seconds reads a whole number of seconds.
func (env environment) seconds(name string, otherwise time.Duration) time.Duration {
	if n, err := strconv.Atoi(env(name)); err == nil && n > 0 && n < 1<<20 {
		return time.Duration(n) * time.Second
	}
	return otherwise
}

// home returns HF_HOME or its default; empty if there is no home directory.
func (env environment) home() string {
	if h := env("HF_HOME"); h != "" {
		return env.expand(h)
	}
	if x := env("XDG_CACHE_HOME"); x != "" {
		return filepath.Join(env.expand(x), "huggingface")
	}
	if u := env.user(); u != "" {
		return filepath.Join(u, ".cache", "huggingface")
	}
	return ""
}

// user returns the user's directory.
func (env environment) user() string {
	if runtime.GOOS == "windows" {
		return env("USERPROFILE")
	}
	return env("HOME")
}

// expand replaces a leading ~ and $VAR, ${VAR}; unknown variables stay as they are.
func (env environment) expand(p string) string {
	if rest, ok := strings.CutPrefix(p, "~"); ok && (rest == "" || os.IsPathSeparator(rest[0])) && env.user() != "" {
		p = env.user() + rest
	}
	return os.Expand(p, func(name string) string {
		if v := env(name); v != "" {
			return v
		}
		return "$" + name
	})
}

// cacheDir finds the Hub cache and makes it absolute.
func (env environment) cacheDir(option string) (string, error) {
	dir := option
	if dir == "" {
		if v := env.first("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"); v != "" {
			dir = env.expand(v)
		} else if h := env.home(); h != "" {
			dir = filepath.Join(h, "hub")
		} else {
			return "", fmt.Errorf("find the Hub cache: no home directory; set HF_HOME or HF_HUB_CACHE")
		}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find the Hub cache: %w", err)
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	return dir, nil
}

// maxToken bounds a token file. Tokens of the Hub have some 40 characters.
const maxToken = 64 << 10

// token finds the token, and says where. It reads at most one file.
func (env environment) token(option string) (token, from string) {
	clean := func(s string) string { return strings.TrimSpace(strings.NewReplacer("\r", "", "\n", "").Replace(s)) }
	if t := clean(option); t != "" {
		return t, "option"
	}
	if env.is("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
		return "", ""
	}
	for _, name := range []string{"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"} {
		if t := clean(env(name)); t != "" {
			return t, name
		}
	}
	var files []string
	if p := env("HF_TOKEN_PATH"); p != "" {
		files = append(files, env.expand(p))
	}
	if h := env.home(); h != "" {
		files = append(files, filepath.Join(h, "token"))
	}
	for _, name := range files {
		if fi, err := os.Stat(name); err != nil || !fi.Mode().IsRegular() || fi.Size() > maxToken {
			continue
		}
		b, err := os.ReadFile(name)
		if t := clean(string(b)); err == nil && t != "" {
			return t, name
		}
	}
	return "", ""
}

// endpoint checks the Hub's address. It is never printed with credentials.
func (env environment) endpoint(option string) (*url.URL, error) {
	s := option
	if s == "" {
		s = env("HF_ENDPOINT")
	}
	if s == "" {
		s = "https://huggingface.co"
	}
	u, err := url.Parse(strings.TrimRight(s, "/"))
	switch {
	case err != nil: // url.Error would quote it
		return nil, fmt.Errorf("endpoint (HF_ENDPOINT): not a URL")
	case u.User != nil:
		return nil, fmt.Errorf("endpoint (HF_ENDPOINT): has a user name or password in it; use HF_TOKEN")
	case (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("endpoint (HF_ENDPOINT): want http:// or https://, a host and perhaps a path")
	}
	return u, nil
}
