package hub

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// proxy chooses a proxy as Go's own ProxyFromEnvironment does, and knows
// ALL_PROXY besides, as the Hub's Python client does. Loopback is never proxied.
func (env environment) proxy(r *http.Request) (*url.URL, error) {
	var v string
	switch r.URL.Scheme {
	case "https":
		v = env.first("HTTPS_PROXY", "https_proxy")
	case "http":
		if v = env("http_proxy"); env("REQUEST_METHOD") == "" { // in CGI, HTTP_PROXY comes from the request
			v = env.first("HTTP_PROXY", "http_proxy")
		}
	}
	if v == "" {
		v = env.first("ALL_PROXY", "all_proxy")
	}
	if v == "" || !proxied(r.URL, env.first("NO_PROXY", "no_proxy")) {
		return nil, nil
	}
	u, err := parseProxy(v)
	if err != nil {
		return nil, err
	}
	return u, nil
}

func parseProxy(v string) (*url.URL, error) {
	if !strings.Contains(v, "://") {
		v = "http://" + v
	}
	u, err := url.Parse(v)
	if err != nil || u.Host == "" { // the error would quote a password
		return nil, errors.New("the proxy's address in the environment is not a URL")
	}
	switch u.Scheme {
	case "http", "https", "socks5", "socks5h":
		return u, nil
	}
	return nil, fmt.Errorf("proxies of scheme %q are not supported", u.Scheme)
}

// proxied tells whether no entry of NO_PROXY matches: "*", "domain" and
// ".domain" (with sub-domains), an address, a network, each perhaps with ":port".
func proxied(u *url.URL, noProxy string) bool {
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	ip, notIP := netip.ParseAddr(host)
	if host == "localhost" || (notIP == nil && ip.IsLoopback()) {
		return false
	}
	for e := range strings.SplitSeq(noProxy, ",") {
		e = strings.ToLower(strings.TrimSpace(e))
		if e == "*" {
			return false
		}
		if h, p, err := net.SplitHostPort(e); err == nil {
			if p != port(u) {
				continue
			}
			e = h
		}
		e = strings.Trim(e, "[]")
		if e == "" {
			continue
		}
		if n, err := netip.ParsePrefix(e); err == nil {
			if notIP == nil && n.Contains(ip.Unmap()) {
				return false
			}
			continue
		}
		if a, err := netip.ParseAddr(e); err == nil {
			if notIP == nil && a == ip {
				return false
			}
			continue
		}
		domain := strings.TrimPrefix(strings.TrimPrefix(e, "*"), ".")
		if (host == domain && !strings.HasPrefix(e, ".")) || strings.HasSuffix(host, "."+domain) {
			return false
		}
	}
	return true
}

// hideProxy hides the proxies' passwords in s.
func (env environment) hideProxy(s string) string {
	for _, n := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"} {
		v := env(n)
		if v == "" || !strings.Contains(v, "@") {
			continue
		}
		if u, err := parseProxy(v); err == nil && u.User != nil {
			if p, ok := u.User.Password(); ok && p != "" {
				s = strings.ReplaceAll(s, p, "[password]")
				s = strings.ReplaceAll(s, url.QueryEscape(p), "[password]")
			}
		}
	}
	return s
}

// isClock tells whether a certificate was refused for its dates.
func isClock(err error) bool {
	var c x509.CertificateInvalidError
	return errors.As(err, &c) && c.Reason == x509.Expired
}
