package ebbtide_test

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What the pages for people say of the programs and of each other has to be so.

func TestEveryLinkOfAPageLeadsSomewhere(t *testing.T) {
	t.Parallel()
	files := readRepository(t)
	report(t, violations(files, func(f file) []string { return linksNowhere(files, f) }))
}

func TestEveryMessageThatAPageQuotesIsSaid(t *testing.T) {
	t.Parallel()
	files := readRepository(t)
	source := programs(files)
	report(t, violations(files, func(f file) []string { return quotesWhatNobodySays(source, f) }))
}

func TestEveryMetricThatAPageNamesIsServed(t *testing.T) {
	t.Parallel()
	files := readRepository(t)
	at := slices.IndexFunc(files, func(f file) bool { return f.path == servedPage })
	if at < 0 {
		t.Fatal("there is no " + servedPage)
	}
	report(t, violations(files, func(f file) []string { return namesNoMetric(files[at].text, f) }))
}

// The rules are only worth something if each can fail.
func TestEachRuleOfThePagesFindsWhatItForbids(t *testing.T) {
	t.Parallel()
	repository := []file{
		{path: "docs/drill.md", text: "# The drill: an end?\n\n## `--force` and PDBs\n\n```sh\n# no heading\n```\n"},
		{path: "drain/plan.go"},
	}
	source := "log.Info(\"Cordoned node\")\nfmt.Errorf(\"no drill now: %d s of grace are too few\", n)\n"
	links := func(f file) []string { return linksNowhere(repository, f) }
	said := func(f file) []string { return quotesWhatNobodySays(source, f) }
	metrics := func(f file) []string { return namesNoMetric("| `ebbtide_drills_total` | `ebbtide_lead_seconds` |", f) }
	for name, c := range map[string]struct {
		rule func(file) []string
		file file
		want int
	}{
		"a link to a page":                        {links, file{"README.md", "[drill](docs/drill.md)"}, 0},
		"a link to a page beside":                 {links, file{"docs/x.md", "[drill](drill.md)"}, 0},
		"a link to a folder":                      {links, file{"docs/x.md", "[drain](../drain)"}, 0},
		"a link to a heading":                     {links, file{"docs/x.md", "[drill](drill.md#the-drill-an-end)"}, 0},
		"a link to a heading with code":           {links, file{"docs/x.md", "[drill](drill.md#--force-and-pdbs)"}, 0},
		"a link out of the repository":            {links, file{"docs/x.md", "[go](https://go.dev/none)"}, 0},
		"a link to a page that is not there":      {links, file{"docs/x.md", "[drill](drills.md)"}, 1},
		"a link to a page from the wrong folder":  {links, file{"docs/x.md", "[drill](docs/drill.md)"}, 1},
		"a link to a heading that is not there":   {links, file{"docs/x.md", "[drill](drill.md#the-end)"}, 1},
		"a link to a comment in an example":       {links, file{"docs/x.md", "[drill](drill.md#no-heading)"}, 1},
		"a link within a page that leads nowhere": {links, file{"docs/drill.md", "[here](#there)"}, 1},
		"a message that is logged":                {said, file{quotingPage, "`\"Cordoned node\"`"}, 0},
		"a message that is not logged":            {said, file{quotingPage, "`\"Cordoned nodes\"`"}, 1},
		"a part of a message is no message":       {said, file{quotingPage, "`\"Cordoned\"`"}, 1},
		"an error with its parts":                 {said, file{quotingPage, "`no drill now: … s of grace are too few`"}, 0},
		"an error that nobody returns":            {said, file{quotingPage, "`no drill now: the moon`"}, 1},
		"a command is no message":                 {said, file{quotingPage, "`kubectl get nodes` `--attach NOW` `drill --attach` `make test`"}, 0},
		"another page may quote others":           {said, file{"docs/x.md", "`\"Cordoned nodes\"`"}, 0},
		"a metric":                                {metrics, file{"docs/x.md", "`ebbtide_drills_total{outcome=\"Drained\"}`"}, 0},
		"a series of a metric":                    {metrics, file{"docs/runbooks/X.md", "`ebbtide_lead_seconds_bucket`"}, 0},
		"a family of metrics":                     {metrics, file{"docs/x.md", "`ebbtide_drills_…`"}, 0},
		"a family without metrics":                {metrics, file{"docs/x.md", "`ebbtide_tides_…`"}, 1},
		"a value is no message":                   {said, file{quotingPage, "`sideEffects: None` `agent.enabled: false`"}, 0},
		"a metric that nobody serves":             {metrics, file{"docs/x.md", "`ebbtide_drill_total`"}, 1},
	} {
		if found := c.rule(c.file); len(found) != c.want {
			t.Errorf("%s: %d violations, want %d: %q", name, len(found), c.want, found)
		}
	}
}

var (
	link    = regexp.MustCompile(`\]\(([^()\s]*)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	fenced  = regexp.MustCompile("(?ms)^ *```.*?^ *```")
	// slugless is what GitHub leaves out of the anchor of a heading.
	slugless = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

func linksNowhere(repository []file, f file) []string {
	if !strings.HasSuffix(f.path, ".md") {
		return nil
	}
	var found []string
	for _, match := range link.FindAllStringSubmatch(fenced.ReplaceAllString(f.text, ""), -1) {
		target, anchor, _ := strings.Cut(match[1], "#")
		if strings.Contains(match[1], "://") {
			continue
		}
		name := f.path
		if target != "" {
			name = path.Join(path.Dir(f.path), target)
		}
		at := slices.IndexFunc(repository, func(other file) bool { return other.path == name || strings.HasPrefix(other.path, name+"/") })
		switch {
		case at < 0 && name != f.path:
			found = append(found, f.path+": links to "+match[1]+", which is not there")
		case anchor != "" && (at < 0 || !hasAnchor(repository[at].text, anchor)):
			found = append(found, f.path+": links to "+match[1]+", and there is no such heading")
		}
	}
	return found
}

func hasAnchor(text, anchor string) bool {
	for _, match := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		if strings.ReplaceAll(slugless.ReplaceAllString(strings.ToLower(match[1]), ""), " ", "-") == anchor {
			return true
		}
	}
	return false
}

// quotingPage is the page that quotes what the programs say, in backticks; what others
// say stands in quotation marks there.
const quotingPage = "docs/troubleshooting.md"

var (
	quoted = regexp.MustCompile("`([^`\n]+)`")
	logged = regexp.MustCompile(`^"[^"]+"$`)
	// A sentence has a space and no sign that a query has; it is no command, and no value of
	// the chart or of an object.
	sentence   = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9' ,:;?….-]* [A-Za-z0-9' ,:;?….-]*$`)
	command    = regexp.MustCompile(`^((kubectl|helm|make|go|drill|ebbtide-[a-z]+) |[A-Za-z]+(\.[A-Za-z]+)+: |[A-Za-z]+: [A-Za-z]+$)`)
	errorParts = regexp.MustCompile(`: |…`)
)

func quotesWhatNobodySays(source string, f file) []string {
	if f.path != quotingPage {
		return nil
	}
	var found []string
	for _, match := range quoted.FindAllStringSubmatch(fenced.ReplaceAllString(f.text, ""), -1) {
		words := match[1]
		if logged.MatchString(words) {
			if !strings.Contains(source, words) {
				found = append(found, f.path+": nobody logs "+words)
			}
			continue
		}
		if !sentence.MatchString(words) || command.MatchString(words) {
			continue
		}
		for _, part := range errorParts.Split(words, -1) {
			if part = strings.TrimSuffix(part, ":"); !strings.Contains(source, strings.TrimSpace(part)) {
				found = append(found, f.path+": nobody says "+part)
			}
		}
	}
	return found
}

// programs is the text of all that the programs are made of, and of the chart.
func programs(files []file) string {
	var text strings.Builder
	for _, f := range files {
		code := strings.HasSuffix(f.path, ".go") && !strings.HasSuffix(f.path, "_test.go")
		if code || strings.HasPrefix(f.path, "charts/ebbtide/templates/") {
			text.WriteString(f.text)
		}
	}
	return text.String()
}

// servedPage has every metric that is served; the programs' tests hold it to that.
const servedPage = "docs/metrics.md"

var (
	metricName   = regexp.MustCompile(`\bebbtide_[a-z0-9_]+`)
	metricSeries = regexp.MustCompile(`_(bucket|sum|count)$`)
)

func namesNoMetric(served string, f file) []string {
	if !strings.HasPrefix(f.path, "docs/") || !strings.HasSuffix(f.path, ".md") {
		return nil
	}
	var found []string
	for _, name := range metricName.FindAllString(f.text, -1) {
		// Where a name ends as a family's do, one of the family is enough.
		one := strings.HasSuffix(name, "_") && regexp.MustCompile("`"+name+"[a-z]").MatchString(served)
		if !one && !strings.Contains(served, "`"+metricSeries.ReplaceAllString(name, "")+"`") && !strings.Contains(served, "`"+name+"`") {
			found = append(found, f.path+": names "+name+", which nobody serves")
		}
	}
	return found
}
