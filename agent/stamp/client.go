package stamp

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/ebbtide/ebbtide/agent/metadata"
)

// client reads items of one cloud's service, with a token where it wants one.
type client struct {
	http   *metadata.Client
	tokens *tokens // nil: none are needed
	token  string  // empty: none is held
}

// get reads an item. Its errors are *metadata.ReadError.
//
// A token can end early, with the service's restart. So a refusal of the token is
// answered with a new one and one more try, unless the token was new.
func (c *client) get(ctx context.Context, path string) (metadata.Reply, error) {
	held := c.token != ""
	r, err := c.try(ctx, path)
	if held && c.token == "" {
		r, err = c.try(ctx, path)
	}
	return r, err
}

// try makes one attempt, and drops a token that was refused.
func (c *client) try(ctx context.Context, path string) (metadata.Reply, error) {
	if c.tokens == nil {
		return c.http.Get(ctx, path)
	}
	if c.token == "" {
		token, err := c.fetch(ctx)
		if err != nil {
			return metadata.Reply{}, err
		}
		c.token = token
	}
	r, err := c.http.Do(ctx, metadata.Request{Path: path, Header: http.Header{c.tokens.header: {c.token}}})
	if metadata.Answered(err, http.StatusUnauthorized) || metadata.Answered(err, http.StatusForbidden) {
		c.forget()
	}
	return r, err
}

// forget drops the token: the next request fetches one.
func (c *client) forget() { c.token = "" }

// errNoToken is a PUT that went well and brought nothing that a header can carry.
var errNoToken = errors.New("no token in the reply")

func (c *client) fetch(ctx context.Context) (string, error) {
	r, err := c.http.Do(ctx, metadata.Request{
		Method: http.MethodPut, Path: c.tokens.path, Header: http.Header{c.tokens.ttlHeader: {tokenTTL}},
	})
	if err != nil {
		return "", err
	}
	token, ok := word(r.Body)
	if !ok {
		return "", &metadata.ReadError{Method: http.MethodPut, Path: r.Path, Status: http.StatusOK, Err: errNoToken}
	}
	return token, nil
}

// longestWord is more than any id or token has.
const longestWord = 1024

// word is a reply that is one word of printable ASCII, without the white space
// around it.
func word(body []byte) (string, bool) {
	text := strings.TrimSpace(string(body))
	odd := strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
	return text, text != "" && len(text) <= longestWord && !odd
}
