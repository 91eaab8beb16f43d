package metadatatest

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTheCommonFaultsAreDescribed(t *testing.T) {
	t.Parallel()
	all := append(Common(), Tokens()...)
	seen := map[Fault]bool{}
	for _, row := range all {
		if seen[row.Fault] {
			t.Errorf("%q is listed twice", row.Fault)
		}
		seen[row.Fault] = true
		if row.Doc == "" || strings.Contains(row.Doc, "\n") {
			t.Errorf("%q is described by %q, want one line", row.Fault, row.Doc)
		}
		if !slices.Contains([]Effect{Blinds, Hides, Shows}, row.Effect) {
			t.Errorf("%q has the effect %q", row.Fault, row.Effect)
		}
		if row.Tamper == nil && row.deliver == nil && !row.refuses {
			t.Errorf("%q does nothing", row.Fault)
		}
		if got, err := all.Parse(string(row.Fault)); got != row.Fault || err != nil {
			t.Errorf("Parse(%q) = %q, %v", row.Fault, got, err)
		}
	}
	if _, err := all.Parse("gremlins"); err == nil || !strings.Contains(err.Error(), string(HangingToken)) {
		t.Errorf("Parse of an unknown name: %v, want the names there are", err)
	}
}

func TestAFakeChoosesItsFaults(t *testing.T) {
	t.Parallel()
	base := Definitions{{Fault: "a", Effect: Blinds}, {Fault: "b", Effect: Blinds}}
	for name, tc := range map[string]struct {
		got  Definitions
		want string
	}{
		"by adding one":          {base.With(Definition{Fault: "c", Effect: Shows}), "a blinds b blinds c shows"},
		"by replacing one":       {base.With(Definition{Fault: "a", Effect: Hides}), "b blinds a hides"},
		"by leaving one out":     {base.Without("a", "x"), "b blinds"},
		"by its effect":          {base.WithEffect("b", Hides).WithEffect("x", Shows), "a blinds b hides"},
		"and leaves the table":   {base, "a blinds b blinds"},
		"which may be empty too": {nil, ""},
	} {
		var words []string
		for _, row := range tc.got {
			words = append(words, string(row.Fault), string(row.Effect))
		}
		if diff := cmp.Diff(tc.want, strings.Join(words, " ")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestTokensAreVoidedByTheFaultsOfTheirPath(t *testing.T) {
	t.Parallel()
	c := newCloud(t, Options{})
	for fault, want := range map[Fault]int{Forbidden: 0, Unauthorized: 0, TokenNotFound: 1, UnusableToken: 1, HangingToken: 1} {
		c.Update(func() { c.voids = 0 })
		if err := c.SetFault(fault); err != nil {
			t.Fatal(err)
		}
		var got int
		c.Update(func() { got = c.voids })
		if got != want {
			t.Errorf("%q voids the tokens %d times, want %d", fault, got, want)
		}
	}
	if err := c.SetFault("gremlins"); err == nil {
		t.Error("SetFault of an unknown fault returned no error")
	}
	if got := c.Fault(); got == "gremlins" {
		t.Error("an unknown fault is in the way")
	}
}

func TestAFaultTouchesTheRepliesThatItIsAbout(t *testing.T) {
	t.Parallel()
	const item = "200 at 12:00:00"
	for fault, want := range map[Fault][3]string{ // of the token, the item and the notice
		Forbidden:      {"403 no", "403 no", "403 no"},
		NotFound:       {"200 token", "404 no", "404 no"},
		NoticeNotFound: {"200 token", item, "404 no"},
		Unauthorized:   {"200 token", "401 no", "401 no"},
		TokenNotFound:  {"404 no", item, "204 "},
		UnusableToken:  {"200 not\na\ntoken\n", item, "204 "},
		TruncatedBody:  {"200 token", item, `200 {"end":`},
		ForeignJSON:    {"200 token", item, `200 {"error": {"code": 7, "message": "try later"}}`},
		EmptyBody:      {"200 token", item, "200 "},
	} {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			c := newCloud(t, Options{})
			if err := c.SetFault(fault); err != nil {
				t.Fatal(err)
			}
			var got [3]string
			for i, path := range []string{tokenPath, itemPath, noticePath} {
				r := c.must(t, path)
				got[i] = strconv.Itoa(r.status) + " " + r.body
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("replies (-want +got):\n%s", diff)
			}
		})
	}
}

// A client waits for the head of a reply, and not for as long as 8 MiB take to make.
func TestAHugeBodyComesAfterItsHeadAndBitByBit(t *testing.T) {
	t.Parallel()
	s := newCloud(t, Options{})
	if err := s.SetFault(HugeBody); err != nil {
		t.Fatal(err)
	}
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, noticePath, nil)
	w := &ledger{ResponseRecorder: httptest.NewRecorder()}
	s.ServeHTTP(w, request)
	if !w.headFirst {
		t.Error("the body began before the head was on its way")
	}
	if most := 64 << 10; w.largest > most {
		t.Errorf("%d bytes were sent in one piece, want at most %d", w.largest, most)
	}
	if size, said := strconv.Itoa(w.Body.Len()), w.Header().Get("Content-Length"); size != said {
		t.Errorf("%s bytes were sent, and %s announced", size, said)
	}
}

// ledger keeps account of how a reply is sent.
type ledger struct {
	*httptest.ResponseRecorder

	headFirst bool
	largest   int
}

func (l *ledger) Flush() {
	l.headFirst = l.headFirst || l.largest == 0
	l.ResponseRecorder.Flush()
}

func (l *ledger) Write(p []byte) (int, error) {
	l.largest = max(l.largest, len(p))
	return l.ResponseRecorder.Write(p)
}
