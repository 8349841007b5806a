// Descriptions of the sanitizer's errors: the check, the access and its address, the thread, the
// source lines, and the conflicting access.
#include <dlfcn.h>
#include <link.h>

#include <cstdio>
#include <cstring>
#include <string>
#include <utility>

#include "checks.h"

namespace emulator::sanitizer {
namespace {

thread_local std::string sentence;

// The result of dladdr for this library.
const Dl_info& library() {
    static const Dl_info info = [] {
        Dl_info found = {};
        dladdr(reinterpret_cast<const void*>(&library_base), &found);
        return found;
    }();
    return info;
}

std::string bytes(size_t n) { return std::to_string(n) + (n == 1 ? " byte" : " bytes"); }

std::string name(const Memory& memory) {
    return (memory.region ? std::string(memory.region) : "an allocation") + " (" + bytes(memory.bytes) + ")";
}

// Describes an address by the memory that holds it, or by the nearest memory.
std::string place(const void* address, const std::vector<Memory>& memory) {
    const auto* at = static_cast<const unsigned char*>(address);
    size_t nearest = SIZE_MAX;
    std::string text = "outside all memory";
    for (const Memory& one : memory) {
        if (at >= one.base && at < one.base + one.bytes) return "at " + std::to_string(at - one.base) + " of " + name(one);
        const bool behind = at >= one.base;
        const auto apart = static_cast<size_t>(behind ? at - (one.base + one.bytes) : one.base - at);
        if (apart >= nearest) continue;
        nearest = apart;
        text = bytes(apart) + (behind ? " behind the end of " : " before ") + name(one);
    }
    return text;
}

// The source lines of a call of the hooks, innermost first, which binutils' addr2line reads from
// the library.
std::string lines(uint32_t code) {
    char command[1024];
    // `code` is the return address; the call itself ends one byte before.
    std::snprintf(command, sizeof command, "addr2line -i -s -e '%s' 0x%x 2>/dev/null", library().dli_fname, code - 1);
    std::string text, line;
    if (FILE* out = popen(command, "r")) {
        char buffer[256];
        while (std::fgets(buffer, sizeof buffer, out)) {
            line.assign(buffer, std::strcspn(buffer, " \n"));
            if (line.find("emulator") == std::string::npos && line.find("kernels.cpp") == std::string::npos && line[0] != '?') text += (text.empty() ? "" : " < ") + line;
        }
        pclose(out);
    }
    if (!text.empty()) return text;
    std::snprintf(command, sizeof command, "%s+0x%x", library().dli_fname, code - 1);
    return command;
}

std::string by(const AccessInfo& access) {
    return "by thread " + std::to_string(access.thread) + " of block (" + std::to_string(access.block.x) + ", " + std::to_string(access.block.y) + ") [" +
           lines(access.code) + "]";
}

std::string what(const AccessInfo& access, const std::vector<Memory>& memory) {
    return std::string(access.verb) + " of " + bytes(access.bytes) + " " + place(access.at, memory) + ", " + by(access);
}

const char* say(std::string text) {
    sentence = std::move(text);
    return sentence.c_str();
}

}  // namespace

const char* of_place(const AccessInfo& access, const char* wanted, const std::vector<Memory>& memory) {
    return say("memcheck: a " + what(access, memory) + "; wanted " + wanted);
}

const char* of_unwritten(const AccessInfo& access, const void* first, const std::vector<Memory>& memory) {
    return say("initcheck: a " + what(access, memory) + "; wanted what the block has written, which it has not " + place(first, memory));
}

const char* of_race(const AccessInfo& access, const AccessInfo& other, const char* wanted, const std::vector<Memory>& memory) {
    return say("racecheck: a " + what(access, memory) + ", and a " + other.verb + " " + by(other) + "; wanted " + wanted);
}

const void* library_base() { return library().dli_fbase; }

bool is_constant_of_library(const void* at, size_t bytes) {
    struct Search {
        uintptr_t at;
        size_t bytes;
        bool found;
    } search = {reinterpret_cast<uintptr_t>(at), bytes, false};
    const auto look = [](dl_phdr_info* info, size_t, void* data) {
        auto* search = static_cast<Search*>(data);
        if (info->dlpi_addr != reinterpret_cast<uintptr_t>(library().dli_fbase)) return 0;
        for (int i = 0; i < info->dlpi_phnum; ++i) {
            const auto& part = info->dlpi_phdr[i];
            const uintptr_t into = search->at - info->dlpi_addr - part.p_vaddr;
            if (part.p_type == PT_LOAD && !(part.p_flags & PF_W) && into < part.p_memsz && search->bytes <= part.p_memsz - into) search->found = true;
        }
        return 1;
    };
    dl_iterate_phdr(look, &search);
    return search.found;
}

}  // namespace emulator::sanitizer
