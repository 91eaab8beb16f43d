package metadatatest

import (
	"net"
	"net/http"
	"time"
)

type tamper = func(ask Ask, honest Reply) Reply

// always refuses with that status.
func always(status int) tamper {
	return func(ask Ask, honest Reply) Reply {
		answer := ask.Refuse(status)
		answer.Role = honest.Role
		return answer
	}
}

// nothing is silence.
func nothing(Ask, Reply) Reply { return Reply{} }

// only applies t to the replies that apply is true for.
func only(apply func(Reply) bool, t tamper) tamper {
	return func(ask Ask, honest Reply) Reply {
		if !apply(honest) {
			return honest
		}
		return t(ask, honest)
	}
}

// items applies t to every request but those for a token.
func items(t tamper) tamper { return only(func(r Reply) bool { return r.Role != TokenRole }, t) }

// tokens applies t to requests for a token.
func tokens(t tamper) tamper { return only(func(r Reply) bool { return r.Role == TokenRole }, t) }

// notices applies t where a notice would be read.
func notices(t tamper) tamper { return only(func(r Reply) bool { return r.Role == NoticeRole }, t) }

// TokensAnswer is a Tamper: requests for a token are refused with that status.
func TokensAnswer(status int) func(ask Ask, honest Reply) Reply { return tokens(always(status)) }

// unread is a reply about a notice in full, of which no careful client will
// believe a word.
func unread(honest Reply) Reply {
	if honest.Sample != nil && len(honest.Tells) == 0 {
		honest = *honest.Sample
	}
	honest.Tells, honest.Hold = nil, 0
	return honest
}

// spoil serves what change makes of a notice, and of a sample where there is
// none; a client without a token is sent away as ever.
func spoil(change func(doc string) string) tamper {
	return notices(func(_ Ask, honest Reply) Reply {
		answer := unread(honest)
		answer.Body = change(answer.Body)
		return answer
	})
}

// padded serves a notice that no careful client reads to its end. White space
// after it leaves any document valid.
func padded(_ Ask, honest Reply) Reply {
	answer := unread(honest)
	answer.padding = 8 << 20
	return answer
}

// late is a reply that will not arrive in any useful time.
func late(_ Ask, honest Reply) Reply {
	honest.Tells = nil
	return honest
}

// unusable is a reply to a request for a token, with a token that no header can
// carry.
func unusable(_ Ask, honest Reply) Reply {
	honest.Body = "not\na\ntoken\n"
	return honest
}

var webPage = Reply{
	Status: http.StatusOK, Kind: "text/html",
	Body: "<!DOCTYPE html>\n<html><body><h1>Please sign in</h1></body></html>\n",
}

// SignInPath is where Redirect leads to. A careful client never asks for it.
const SignInPath = "/sign-in"

func redirect(ask Ask, _ Reply) Reply {
	if ask.URL.Path == SignInPath {
		return webPage
	}
	return Reply{Status: http.StatusFound, Kind: "text/html", Header: map[string]string{"Location": SignInPath}}
}

// undated sends a reply without a Date.
func undated(w http.ResponseWriter, _ *http.Request, answer Reply, _ <-chan struct{}) {
	w.Header()["Date"] = nil // keeps net/http from setting one
	answer.send(w)
}

// hang keeps a request until its client goes away, or cuts it off when the
// fault ends: a packet that a hop limit swallowed does not come later.
func hang(w http.ResponseWriter, r *http.Request, ended <-chan struct{}) {
	select {
	case <-r.Context().Done():
	case <-ended:
		cut(w)
	}
}

// dribble sends an item so slowly that no careful client waits for it.
func dribble(w http.ResponseWriter, r *http.Request, answer Reply, ended <-chan struct{}) {
	if answer.Role == TokenRole {
		answer.send(w)
		return
	}
	answer.head(w)
	flusher := http.NewResponseController(w)
	tick := time.NewTicker(max(200*time.Millisecond, 10*time.Second/time.Duration(len(answer.Body)+1)))
	defer tick.Stop()
	for i := range len(answer.Body) {
		if _, err := w.Write([]byte(answer.Body[i : i+1])); err != nil {
			return
		}
		if err := flusher.Flush(); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		case <-ended:
			cut(w)
			return
		}
	}
}

// reset ends the connection with a RST instead of a FIN.
func reset(w http.ResponseWriter, _ *http.Request, _ <-chan struct{}) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// cut ends the connection in the middle of whatever it carries.
func cut(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return // gone already
	}
	_ = conn.Close()
}
