package hub

import (
	"context"
	"fmt"
	"net/url"
	"strings"
)

const maxPages = 1000 // of a list of files

// url returns an address below the endpoint. Each part is one segment of the
// path and is encoded as one: "/" too, and "#", "?", "%", "+".
func (c *Client) url(parts ...string) *url.URL {
	u := *c.endpoint
	path, raw := strings.TrimRight(u.Path, "/"), strings.TrimRight(u.EscapedPath(), "/")
	for _, p := range parts {
		path += "/" + p
		raw += "/" + strings.ReplaceAll(url.PathEscape(p), "+", "%2B")
	}
	u.Path, u.RawPath = path, raw
	return &u
}

func repoParts(parts []string, id string, more ...string) []string {
	return append(append(parts, strings.Split(id, "/")...), more...)
}

// fileURL is where a file's bytes are asked for.
func (c *Client) fileURL(ref Ref, path string) *url.URL {
	return c.url(append(repoParts(nil, ref.Repo, "resolve", ref.Commit), strings.Split(path, "/")...)...)
}

// askCommit asks the Hub which commit a branch or tag is at.
func (c *Client) askCommit(ctx context.Context, ref Ref, once bool) (string, error) {
	u := c.url(repoParts([]string{"api", "models"}, ref.Repo, "revision", ref.Revision)...)
	var info struct {
		SHA string `json:"sha"`
	}
	for p := c.patience(); ; {
		_, err := c.json(ctx, u, ref, &info)
		if err == nil {
			break
		}
		if once {
			return "", err
		}
		if err := p.wait(ctx, err, nil); err != nil {
			return "", err
		}
	}
	if !isCommit(info.SHA) {
		return "", fmt.Errorf("%w: %s names no commit for %s", ErrNotHub, c.endpoint.Host, ref.Repo)
	}
	return info.SHA, nil
}

// treeItem is an element of the tree API's answer.
type treeItem struct {
	Type string `json:"type"`
	Path string `json:"path"`
	Size int64  `json:"size"`
	OID  string `json:"oid"`
	LFS  *struct {
		OID  string `json:"oid"`
		Size int64  `json:"size"`
	} `json:"lfs"`
	Xet string `json:"xetHash"`
}

// add adds one page of a tree to the list, or says why it cannot.
func (l listing) add(page []treeItem) error {
	for _, it := range page {
		if it.Type != "file" {
			continue // folders follow from the paths
		}
		f := listed{BlobID: it.OID, Size: it.Size}
		if it.LFS != nil {
			f.LFSSHA256, f.LFSSize, f.Size = it.LFS.OID, it.LFS.Size, it.LFS.Size
			if f.LFSSHA256 == "" {
				return fmt.Errorf("%w: list of files: a large file without sha256", ErrNotHub)
			}
		}
		if isHex(it.Xet, 64) {
			f.XetHash = it.Xet
		}
		if err := f.check(it.Path); err != nil {
			return fmt.Errorf("%w: list of files: %w", ErrNotHub, err)
		}
		if _, twice := l[it.Path]; twice {
			return fmt.Errorf("%w: list of files: %s is listed twice", ErrNotHub, it.Path)
		}
		if len(l) >= maxEntries {
			return fmt.Errorf("%w: list of files: more than %d", ErrNotHub, maxEntries)
		}
		l[it.Path] = f
	}
	return nil
}

// askTree asks the Hub for the list of a commit's files, all of it.
func (c *Client) askTree(ctx context.Context, ref Ref) (listing, error) {
	u := c.url(repoParts([]string{"api", "models"}, ref.Repo, "tree", ref.Commit)...)
	u.RawQuery = "recursive=true&expand=false"
	l := listing{}
	p := c.patience()
	for pages := 1; u != nil; pages++ {
		if pages > maxPages {
			return nil, fmt.Errorf("%w: list of files: more than %d pages", ErrNotHub, maxPages)
		}
		var page []treeItem
		h, err := c.json(ctx, u, ref, &page)
		if err != nil {
			if err := p.wait(ctx, err, nil); err != nil {
				return nil, err
			}
			continue
		}
		p.progress()
		if commit := h.Get("X-Repo-Commit"); commit != "" && commit != ref.Commit {
			return nil, otherCommit(ref, commit)
		}
		if err := l.add(page); err != nil {
			return nil, err
		}
		if u, err = nextPage(u, h.Get("Link")); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// otherCommit is the error of an answer for another commit than was asked for.
func otherCommit(ref Ref, commit string) error {
	if !isCommit(commit) {
		commit = "something that is no commit"
	}
	return fmt.Errorf("%w: %s: asked for commit %s, the answer is for %s", ErrNotHub, ref.Repo, ref.Commit, commit)
}

// nextPage finds the address of rel="next" in a Link header; nil if there is
// none.
func nextPage(u *url.URL, link string) (*url.URL, error) {
	for link != "" {
		_, rest, ok := strings.Cut(link, "<")
		if !ok {
			return nil, nil
		}
		target, rest, ok := strings.Cut(rest, ">")
		if !ok {
			return nil, nil
		}
		params := rest
		if i := strings.IndexByte(rest, '<'); i >= 0 {
			params = rest[:i]
		}
		link = rest[len(params):]
		for p := range strings.SplitSeq(params, ";") {
			k, v, _ := strings.Cut(p, "=")
			v = strings.Trim(strings.TrimRight(strings.TrimSpace(v), ","), `" `)
			if strings.EqualFold(strings.TrimSpace(k), "rel") && v == "next" {
				return redirect(u, target)
			}
		}
	}
	return nil, nil
}
