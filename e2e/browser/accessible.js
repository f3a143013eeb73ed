// Returns what makes a page hard to use with a keyboard, a screen reader, weak eyes or a small screen.
(() => {
	const found = [];
	const say = (text, node) => found.push(text + (node ? ": " + node.outerHTML.replace(/\s+/g, " ").slice(0, 160) : ""));
	const all = (selector) => [...document.querySelectorAll(selector)];
	const shown = (node) => node.checkVisibility({checkOpacity: true, checkVisibilityCSS: true});
	const name = (node) => node.getAttribute("aria-label") || (node.labels && node.labels[0]?.textContent) ||
		(node.getAttribute("aria-labelledby") || "").split(" ").map((id) => document.getElementById(id)?.textContent || "").join("") ||
		node.textContent;

	if (!document.documentElement.lang) say("no language");
	if (!document.title.trim()) say("no title");
	if (all("main").length !== 1) say("not one main");
	if (all("h1").length !== 1) say(`${all("h1").length} first headings`);
	let level = 0;
	for (const h of all("h1, h2, h3, h4, h5, h6")) {
		const next = Number(h.tagName[1]);
		if (next > level + 1) say("a level of headings is left out", h);
		level = next;
	}
	const ids = new Set();
	for (const node of all("[id]")) {
		if (ids.has(node.id)) say("an id is there twice", node);
		ids.add(node.id);
	}
	for (const node of all("a[href], button, input:not([type=hidden]), select, summary, section, nav")) {
		if (!name(node).trim()) say("no name", node);
	}
	const targets = new Map();
	for (const link of all("a[href]")) {
		const text = name(link).trim();
		if (text === "Look" || (targets.has(text) && targets.get(text) !== link.href && ["Previous", "Next"].includes(text))) say("unclear link", link);
		targets.set(text, link.href);
	}
	for (const table of all("table")) {
		if (!table.caption && !table.closest("[aria-label], [aria-labelledby]")) say("no caption", table);
		for (const th of table.querySelectorAll("th")) if (!th.scope) say("no scope", th);
	}
	for (const svg of all("svg")) {
		if (svg.getAttribute("aria-hidden") !== "true" && !(svg.getAttribute("role") === "img" && svg.getAttribute("aria-label"))) say("no text for", svg);
	}
	for (const node of all("main *")) {
		const style = getComputedStyle(node);
		const scrolls = (/auto|scroll/.test(style.overflowY) && node.scrollHeight > node.clientHeight + 1) ||
			(/auto|scroll/.test(style.overflowX) && node.scrollWidth > node.clientWidth + 1);
		if (scrolls && shown(node) && node.tabIndex < 0 && !node.querySelector("a[href], button, input, [tabindex='0']")) say("cannot be scrolled with keys", node);
	}
	for (const node of all("button, select, input:not([type=hidden]), nav a")) {
		const box = node.getBoundingClientRect();
		if (shown(node) && (box.height < 24 || box.width < 24)) say(`too small, ${box.width} x ${box.height}`, node);
	}
	if (document.documentElement.scrollWidth > innerWidth) say(`wider than the window: ${document.documentElement.scrollWidth} of ${innerWidth}`);

	const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
	const rgba = (color) => {
		canvas.clearRect(0, 0, 1, 1);
		canvas.fillStyle = color;
		canvas.fillRect(0, 0, 1, 1);
		const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
		return [r, g, b, a / 255];
	};
	const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
	const ground = (node) => {
		const layers = [];
		for (; node; node = node.parentElement) layers.push(rgba(getComputedStyle(node).backgroundColor));
		return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
	};
	const light = (color) => {
		const [r, g, b] = color.map((c) => (c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
		return 0.2126 * r + 0.7152 * g + 0.0722 * b;
	};
	const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	const seen = new Set();
	while (walker.nextNode()) {
		const node = walker.currentNode.parentElement;
		if (!walker.currentNode.nodeValue.trim() || seen.has(node) || !shown(node) || node.closest("svg, option, .unseen, .skip")) continue;
		seen.add(node);
		const style = getComputedStyle(node);
		const below = ground(node);
		const [a, b] = [light(over(rgba(style.color), below)), light(below)].sort((x, y) => y - x);
		const ratio = (a + 0.05) / (b + 0.05);
		const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
		if (ratio < (large ? 3 : 4.5)) say(`contrast ${ratio.toFixed(2)}`, node);
	}
	return found;
})()
