# Prints flash and RAM (from the linker's symbols) and the deepest stack below ek_invoke (from the
# compiler's call graphs, -fcallgraph-info=su). Functions of the C library have no frame there.

function hex(text,    value, place) {
    value = 0
    for (place = 1; place <= length(text); place++) {
        value = value * 16 + index("0123456789abcdef", substr(text, place, 1)) - 1
    }
    return value
}

function quoted(line, key,    begin, rest) {
    begin = index(line, key ": \"")
    if (!begin) { return "" }
    rest = substr(line, begin + length(key) + 3)
    return substr(rest, 1, index(rest, "\"") - 1)
}

function own(title,    parts, count) {
    count = split(title, parts, ":")
    return parts[count]
}

function deepest(name, path,    most, here, number, callees, count) {
    if (index(path, "/" name "/")) { endless = 1; return 0 }
    most = 0
    count = split(calls[name], callees, " ")
    for (number = 1; number <= count; number++) {
        here = deepest(callees[number], path name "/")
        if (here > most) { most = here }
    }
    return frame[name] + most
}

$1 == "_flash_used" { flash = hex($2) }
$1 == "_ram_used"   { ram = hex($2) }

/^node:/ && match($0, /[0-9]+ bytes \((static|dynamic)/) {
    bytes = substr($0, RSTART, RLENGTH)
    if (index(bytes, "dynamic")) { endless = 1 }
    frame[own(quoted($0, "title"))] = bytes + 0
}

/^edge:/ { calls[own(quoted($0, "sourcename"))] = calls[own(quoted($0, "sourcename"))] " " own(quoted($0, "targetname")) }

END {
    printf "flash %d bytes: code and constants of the model\n", flash
    printf "RAM   %d bytes: its data, with the arena\n", ram
    stack = deepest("ek_invoke", "/")
    printf "stack %s%d bytes below ek_invoke(), without functions of the C library\n", endless ? "at least " : "", stack
}
