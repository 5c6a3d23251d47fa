package hub

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	maxRedirects  = 10
	maxRetries    = 5                // without progress in between
	maxStuck      = 50 * time.Second // the same as a time: with the last try's timeout an error comes within a minute
	maxBackoff    = 30 * time.Second
	maxServerWait = 60 * time.Second // the longest Retry-After that is obeyed
	maxHeader     = 256 << 10        // bytes of an answer's header
	maxPage       = 16 << 20         // bytes of one JSON answer; a page of 1,000 files has some 300 kB
	maxMessage    = 200              // bytes of a server's words in an error
)

// transport makes the connections. Offline it makes none.
func (c *Client) newTransport() *http.Transport {
	d := &net.Dialer{Timeout: c.headerTimeout, KeepAlive: 30 * time.Second}
	t := &http.Transport{
		Proxy:                  c.env.proxy,
		DialContext:            d.DialContext,
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    workers,
		IdleConnTimeout:        30 * time.Second,
		TLSHandshakeTimeout:    c.headerTimeout,
		ResponseHeaderTimeout:  c.headerTimeout,
		MaxResponseHeaderBytes: maxHeader,
		DisableCompression:     true, // Accept-Encoding: identity is ours to send
	}
	if c.offline {
		t.Proxy = nil
		t.DialContext = func(context.Context, string, string) (net.Conn, error) { return nil, ErrOffline }
	}
	return t
}

// An answer is a response after all redirects, and what the Hub itself said on
// the way.
type answer struct {
	*http.Response
	fromHub bool   // the last answer came from the endpoint
	commit  string // X-Repo-Commit
	etag    string // X-Linked-Etag. A plain ETag is a cache's business: mirrors have their own
	size    string // X-Linked-Size

	stop func() // ends the request
}

func (a *answer) close() {
	a.Body.Close()
	a.stop()
}

// sameOrigin tells whether both have the same scheme, host and port.
func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if u.Scheme == "https" {
		return "443"
	}
	return "80"
}

// get sends a GET and follows redirects by hand. The token goes to the
// endpoint's scheme, host and port, and not any more once a redirect led
// elsewhere: Go's own client compares host names only, and would send it to
// another port and to sub-domains. from asks for the rest of a file.
func (c *Client) get(ctx context.Context, u *url.URL, from int64) (*answer, error) {
	if c.offline {
		return nil, ErrOffline
	}
	inner, cancel := context.WithCancelCause(ctx)
	a := &answer{stop: func() { cancel(nil) }}
	trusted := true
	for hop := 0; ; hop++ {
		trusted = trusted && sameOrigin(u, c.endpoint)
		req := &http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: http.Header{
			"Accept-Encoding": {"identity"},
			"User-Agent":      {c.agent},
		}}
		if from > 0 {
			req.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
		}
		if trusted && c.token != "" {
			req.Header.Set("Authorization", "Bearer "+c.token)
		}
		resp, err := c.transport.RoundTrip(req.WithContext(inner))
		if err != nil {
			cancel(nil)
			return nil, c.netError(ctx, u, err)
		}
		a.Response, a.fromHub = resp, trusted
		resp.Body = &watched{ReadCloser: resp.Body, ctx: inner, cancel: cancel, idle: c.stallTimeout}
		if trusted {
			if v := resp.Header.Get("X-Repo-Commit"); v != "" {
				a.commit = v
			}
			if v := resp.Header.Get("X-Linked-Etag"); v != "" {
				a.etag = v
			}
			if v := resp.Header.Get("X-Linked-Size"); v != "" {
				a.size = v
			}
		}
		if resp.StatusCode < 300 || resp.StatusCode > 399 || resp.StatusCode == http.StatusNotModified {
			return a, nil
		}
		next, err := redirect(u, resp.Header.Get("Location"))
		io.CopyN(io.Discard, resp.Body, 4<<10) // a few words, so that the connection can be used again
		resp.Body.Close()
		if err == nil && hop >= maxRedirects {
			err = fmt.Errorf("%w: more than %d redirects", ErrNotHub, maxRedirects)
		}
		if err != nil {
			cancel(nil)
			return nil, fmt.Errorf("%s: %w", c.where(u), err)
		}
		u = next
	}
}

// redirect resolves a Location. From https it leads to https only.
func redirect(from *url.URL, location string) (*url.URL, error) {
	if location == "" || len(location) > maxHeader {
		return nil, fmt.Errorf("%w: redirect without a place to go", ErrNotHub)
	}
	to, err := from.Parse(location)
	if err != nil { // the error would quote it
		return nil, fmt.Errorf("%w: redirect to something that is no URL", ErrNotHub)
	}
	switch {
	case to.Scheme != "http" && to.Scheme != "https", to.Host == "", to.Hostname() == "":
		return nil, fmt.Errorf("%w: redirect to something that is no web address", ErrNotHub)
	case from.Scheme == "https" && to.Scheme == "http":
		return nil, fmt.Errorf("%w: redirect from https to http (%s)", ErrNotHub, to.Host)
	}
	to.User, to.Fragment, to.RawFragment = nil, "", ""
	return to, nil
}

// where names an address: of one that is not the Hub's own only the host,
// because path and query may be a signature.
func (c *Client) where(u *url.URL) string {
	s := u.Scheme + "://" + u.Host
	if sameOrigin(u, c.endpoint) && len(u.Path) <= maxMessage {
		s += u.EscapedPath()
	}
	return s
}

// A watched body ends when no byte came for so long.
type watched struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	idle   time.Duration
}

var errStalled = errors.New("no data")

func (w *watched) Read(b []byte) (int, error) {
	t := time.AfterFunc(w.idle, func() { w.cancel(errStalled) })
	n, err := w.ReadCloser.Read(b)
	t.Stop()
	if err != nil && !errors.Is(err, io.EOF) && errors.Is(context.Cause(w.ctx), errStalled) {
		err = fmt.Errorf("%w for %v", errStalled, w.idle)
	}
	return n, err
}

// netError makes a failure to get an answer readable, and transient unless the
// caller gave up.
func (c *Client) netError(ctx context.Context, u *url.URL, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var ue *url.Error // quotes the whole address
	for errors.As(err, &ue) {
		err = ue.Err
	}
	proxied := ""
	if p, e := c.env.proxy(&http.Request{URL: u}); e == nil && p != nil && !c.offline {
		proxied = " through the proxy " + p.Scheme + "://" + p.Host
	}
	if isClock(err) {
		err = fmt.Errorf("%w (is this machine's clock right? It says %s)", err, time.Now().UTC().Format(time.DateTime))
	}
	final := isFinal(err)
	err = fmt.Errorf("%w: %s%s: %w", ErrUnavailable, c.where(u), proxied, c.redact(err))
	if final {
		return err
	}
	return retryable(err)
}

// isFinal tells whether trying again cannot help: a name that does not exist, a
// certificate that does not convince.
func isFinal(err error) bool {
	var dns *net.DNSError
	var cert *tls.CertificateVerificationError
	return errors.As(err, &dns) && dns.IsNotFound || errors.As(err, &cert)
}

// redact hides the token, and passwords of a proxy, should a library or a
// server quote them.
func (c *Client) redact(err error) error {
	s := err.Error()
	t := c.hide(s)
	if t == s {
		return err
	}
	return errors.New(t)
}

func (c *Client) hide(s string) string {
	if c.token != "" {
		s = strings.ReplaceAll(s, c.token, "[token]")
	}
	return c.env.hideProxy(s)
}

// A statusError is an answer that says no.
type statusError struct {
	code int
	host string
	text string // the server's words, shortened
}

func (e *statusError) Error() string {
	s := fmt.Sprintf("%s answers %d %s", e.host, e.code, http.StatusText(e.code))
	if e.text != "" {
		s += ": " + e.text
	}
	return s
}

// refusal turns an answer that is neither 200 nor 206 into an error. It reads
// the Hub's codes in the order of the reference client.
func (c *Client) refusal(a *answer, ref Ref) error {
	se := &statusError{code: a.StatusCode, host: a.Request.URL.Host, text: c.words(a)}
	wait, err := serverWait(a.Response, time.Now())
	if err != nil {
		err.Host = se.host
		return err
	}
	again := &transient{error: fmt.Errorf("%w: %w", ErrUnavailable, se), after: wait}
	switch se.code {
	case 408, 425, 429, 500, 502, 503, 504:
		return again
	}
	if se.code > 504 {
		return again
	}
	if !a.fromHub {
		switch se.code {
		case 401, 403, 404, 410, 416: // a signed address that ran out; the next try asks the Hub for another
			return again
		}
		return fmt.Errorf("%w: %w", ErrUnavailable, se)
	}
	code, msg := a.Header.Get("X-Error-Code"), a.Header.Get("X-Error-Message")
	page := c.endpoint.JoinPath(ref.Repo).String()
	kind := func(sentinel error, format string, args ...any) error {
		return fmt.Errorf("%s: %w%s (%w)", ref.Repo, sentinel, fmt.Sprintf(format, args...), se)
	}
	switch {
	case code == "RevisionNotFound":
		return kind(ErrRevision, ": %s", ref.Revision)
	case code == "EntryNotFound":
		return kind(ErrEntry, "")
	case code == "GatedRepo" && c.token == "":
		return kind(ErrGated, ": accept the terms on %s, then set HF_TOKEN", page)
	case code == "GatedRepo":
		return kind(ErrGated, ": the token's owner is not on the list; ask for access on %s", page)
	case msg == "Access to this resource is disabled.":
		return kind(ErrDisabled, "")
	case se.code == 401 && strings.HasPrefix(msg, "Invalid credentials"):
		return kind(ErrUnauthorised, ": check %s", c.tokenFrom)
	case code == "RepoNotFound" && c.token == "", se.code == 401 && c.token == "":
		return kind(ErrNotFound, ": if it is private, set HF_TOKEN")
	case code == "RepoNotFound", se.code == 404 && code == "":
		return kind(ErrNotFound, "")
	case se.code == 401, se.code == 403:
		return kind(ErrUnauthorised, ": the token (%s) gives no access", c.tokenFrom)
	case se.code == 416:
		return again
	}
	return fmt.Errorf("%s: %w", ref.Repo, se)
}

// words returns what the server says, if it is a short text.
func (c *Client) words(a *answer) string {
	if !a.fromHub {
		return ""
	}
	s := a.Header.Get("X-Error-Message")
	if s == "" && !isHTML(a.Response) {
		b, _ := io.ReadAll(io.LimitReader(a.Body, 4<<10))
		var j struct {
			Error string `json:"error"`
		}
		if json.Unmarshal(b, &j) == nil {
			s = j.Error
		}
	}
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r == 0xfffd || (r >= 0x80 && r < 0xa0) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, " "))
	if s = c.hide(strings.TrimSpace(s)); len(s) > maxMessage {
		s = strings.ToValidUTF8(s[:maxMessage], "") + "…"
	}
	return s
}

func isHTML(r *http.Response) bool {
	t, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return t == "text/html" || t == "application/xhtml+xml"
}

// serverWait reads Retry-After, in seconds or as a date, or the Hub's RateLimit
// header ("api";r=0;t=seconds). It returns whole seconds; more than
// maxServerWait is an error, because nobody sits through it.
func serverWait(r *http.Response, now time.Time) (int, *WaitError) {
	var d time.Duration
	asked := ""
	if v := r.Header.Get("Retry-After"); v != "" {
		if n, err := strconv.ParseUint(strings.TrimSpace(v), 10, 63); err == nil {
			d, asked = seconds(n), fmt.Sprintf("%d seconds", n)
		} else if t, err := http.ParseTime(v); err == nil {
			d, asked = t.Sub(now), "until "+t.UTC().Format(time.RFC1123)
		}
	} else if v := r.Header.Get("Ratelimit"); r.StatusCode == http.StatusTooManyRequests && v != "" {
		for f := range strings.SplitSeq(v, ";") {
			if t, ok := strings.CutPrefix(strings.TrimSpace(f), "t="); ok {
				if n, err := strconv.ParseUint(t, 10, 63); err == nil {
					d, asked = seconds(n)+time.Second, fmt.Sprintf("%d seconds", n)
				}
			}
		}
	}
	if d > maxServerWait {
		return 0, &WaitError{Wait: asked}
	}
	return int(max(0, d+time.Second-1) / time.Second), nil
}

func seconds(n uint64) time.Duration {
	return time.Duration(min(n, uint64(24*365*time.Hour/time.Second))) * time.Second
}

// A patience is how much longer a call goes on failing.
type patience struct {
	c     *Client
	tries int
	since time.Time
}

func (c *Client) patience() *patience { return &patience{c: c, since: time.Now()} }

// progress starts counting anew.
func (p *patience) progress() { p.tries, p.since = 0, time.Now() }

// wait sleeps before the next try, or returns why there is none: the error is
// final, or there were enough tries.
func (p *patience) wait(ctx context.Context, err error, waiting func()) error {
	var t *transient
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if !errors.As(err, &t) {
		return err
	}
	d := min(p.c.backoff<<p.tries, maxBackoff)
	d = d/2 + rand.N(d/2+1) // half fixed, half random: programs that failed together do not come back together
	if t.after > 0 {
		d = max(d, time.Duration(t.after)*time.Second)
		p.since = p.since.Add(d) // what the server asked for is not held against it
	}
	if p.tries++; p.tries > maxRetries || time.Since(p.since)+d > maxStuck {
		return fmt.Errorf("gave up after %d tries: %w", p.tries, err)
	}
	if waiting != nil {
		waiting()
	}
	return sleep(ctx, d)
}

// json fetches one JSON answer of the API into v and returns its header.
func (c *Client) json(ctx context.Context, u *url.URL, ref Ref, v any) (http.Header, error) {
	a, err := c.get(ctx, u, 0)
	if err != nil {
		return nil, err
	}
	defer a.close()
	if a.StatusCode != http.StatusOK {
		return nil, c.refusal(a, ref)
	}
	if e := a.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return nil, fmt.Errorf("%w: %s sends a compressed answer that nobody asked for", ErrNotHub, a.Request.URL.Host)
	}
	if isHTML(a.Response) {
		return nil, fmt.Errorf("%w: %s sends a web page; is there a login page or a filter in between?", ErrNotHub, a.Request.URL.Host)
	}
	b, err := io.ReadAll(io.LimitReader(a.Body, maxPage+1))
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, retryable(fmt.Errorf("%w: %s: %w", ErrUnavailable, c.where(u), err))
	}
	if len(b) > maxPage {
		return nil, fmt.Errorf("%w: %s sends more than %d bytes", ErrNotHub, a.Request.URL.Host, maxPage)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return nil, fmt.Errorf("%w: %s sends something that is not the JSON that was asked for", ErrNotHub, a.Request.URL.Host)
	}
	return a.Header, nil
}
