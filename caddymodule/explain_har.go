package caddymodule

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// har is what is read of an HTTP archive, as browsers' developer tools save it
// (http://www.softwareishard.com/blog/har-12-spec/).
type har struct {
	Log struct {
		Entries []struct {
			Request struct {
				Method   string      `json:"method"`
				URL      string      `json:"url"`
				Headers  []harHeader `json:"headers"`
				PostData struct {
					MimeType string      `json:"mimeType"`
					Text     string      `json:"text"`
					Params   []harHeader `json:"params"`
				} `json:"postData"`
			} `json:"request"`
			Response struct {
				Status  int         `json:"status"`
				Headers []harHeader `json:"headers"`
				Content struct {
					MimeType string `json:"mimeType"`
					Text     string `json:"text"`
					Encoding string `json:"encoding"`
				} `json:"content"`
			} `json:"response"`
		} `json:"entries"`
	} `json:"log"`
}

type harHeader struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// parseHAR returns the exchanges of an archive.
func parseHAR(data []byte) ([]exchange, error) {
	var archive har
	if err := json.Unmarshal(data, &archive); err != nil {
		return nil, fmt.Errorf("reading HAR: %w", err)
	}
	var exchanges []exchange
	for i := range archive.Log.Entries {
		entry := &archive.Log.Entries[i]
		x := exchange{
			method: entry.Request.Method, url: entry.Request.URL, header: harHeaders(entry.Request.Headers),
			body:   []byte(entry.Request.PostData.Text),
			status: entry.Response.Status, answer: harHeaders(entry.Response.Headers), result: []byte(entry.Response.Content.Text),
		}
		if len(x.body) == 0 && len(entry.Request.PostData.Params) > 0 {
			form := make(url.Values)
			for _, p := range entry.Request.PostData.Params {
				form.Add(p.Name, p.Value)
			}
			x.body = []byte(form.Encode())
		}
		if entry.Response.Content.Encoding == "base64" {
			decoded, err := base64.StdEncoding.DecodeString(entry.Response.Content.Text)
			if err != nil {
				return nil, fmt.Errorf("reading HAR: entry %d: content: %w", i+1, err)
			}
			x.result = decoded
		}
		setDefault(x.header, "Content-Type", entry.Request.PostData.MimeType)
		setDefault(x.answer, "Content-Type", entry.Response.Content.MimeType)
		x.answer.Del("Content-Encoding") // the content of an archive is decoded
		exchanges = append(exchanges, x)
	}
	if len(exchanges) == 0 {
		return nil, fmt.Errorf("reading HAR: no entries under log.entries")
	}
	return exchanges, nil
}

// harHeaders leaves out the pseudo-headers of HTTP/2 and what frames a message.
func harHeaders(list []harHeader) http.Header {
	h := make(http.Header)
	for _, header := range list {
		name := http.CanonicalHeaderKey(header.Name)
		if strings.HasPrefix(name, ":") || name == "Content-Length" || name == "Transfer-Encoding" || name == "Host" {
			continue
		}
		h.Add(name, header.Value)
	}
	return h
}

func setDefault(h http.Header, name, value string) {
	if h.Get(name) == "" && value != "" {
		h.Set(name, value)
	}
}
