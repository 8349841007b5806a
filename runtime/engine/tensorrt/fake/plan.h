// The text format of the fake's engines. Only fake.cpp includes this.
#pragma once
#include <algorithm>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "interfaces.h"

namespace {
using namespace nvinfer1;

struct Tensor {
    std::string name;
    bool is_input, on_host;
    DataType type;
    Dims dims;
    bool is_dynamic() const { return std::count(dims.d, dims.d + dims.nbDims, -1) > 0; }
    // Dynamic axes (-1) with the same letter have the same length.
    char letter() const { return name.rfind("mem_", 0) == 0 ? 'S' : 'N'; }
};

struct Range {
    Dims at[3];  // min, opt, max
};

struct Plan {
    std::string name, version, layers;
    bool has_layers = false;
    std::vector<Tensor> tensors;
    std::vector<std::map<std::string, Range>> profiles;
    int64_t scratch = 0, weights = 0;

    Tensor const* find(char const* wanted) const {
        for (Tensor const& tensor : tensors)
            if (wanted && tensor.name == wanted) return &tensor;
        return nullptr;
    }
};

struct Type {
    char const* name;
    DataType type;
    int64_t bytes;
};
Type const TYPES[] = {{"f32", DataType::kFLOAT, 4}, {"f16", DataType::kHALF, 2},  {"bf16", DataType::kBF16, 2},
                      {"f8", DataType::kFP8, 1},    {"i8", DataType::kINT8, 1},   {"u8", DataType::kUINT8, 1},
                      {"i32", DataType::kINT32, 4}, {"i64", DataType::kINT64, 8}, {"bool", DataType::kBOOL, 1}};

void refuse_if(bool wrong, std::string const& what) {
    if (wrong) throw std::runtime_error(what);
}

// Lengths up to `|` or the end of the line.
Dims read_dims(std::istringstream& words) {
    Dims dims{};
    for (std::string word; words >> word && word != "|";) {
        refuse_if(dims.nbDims == Dims::MAX_DIMS, "too many axes");
        refuse_if((dims.d[dims.nbDims++] = std::stoll(word)) < -1, "a length below zero");
    }
    return dims;
}

Tensor read_tensor(std::istringstream& words) {
    std::string name, mode, type;
    words >> name >> mode >> type;
    refuse_if(mode != "in" && mode != "out", "neither in nor out");
    for (Type const& known : TYPES)
        if (type == known.name) return {name, mode == "in", false, known.type, read_dims(words)};
    throw std::runtime_error("not a type: " + type);
}

void read_range(Plan& plan, std::istringstream& words) {
    std::string name;
    words >> name;
    Tensor const* tensor = plan.find(name.c_str());
    refuse_if(!tensor || !tensor->is_input || plan.profiles.empty(), "a range of nothing");
    Range& range = plan.profiles.back()[name];
    for (Dims& dims : range.at) refuse_if((dims = read_dims(words)).nbDims != tensor->dims.nbDims, "a range of another rank");
    for (int i = 0; i < tensor->dims.nbDims; ++i) {
        int64_t const min = range.at[0].d[i], opt = range.at[1].d[i], max = range.at[2].d[i], fixed = tensor->dims.d[i];
        refuse_if(min < 0 || min > opt || opt > max, "not min, opt, max");
        refuse_if(fixed != -1 && (min != fixed || max != fixed), "a range of a fixed axis");
    }
}

void read_line(Plan& plan, std::string const& key, std::istringstream& words) {
    std::string name;
    if (key == "name") words >> plan.name;
    else if (key == "version") words >> plan.version;
    else if (key == "tensor") plan.tensors.push_back(read_tensor(words));
    else if (key == "profile") plan.profiles.emplace_back();
    else if (key == "range") read_range(plan, words);
    else if (key == "scratch") words >> plan.scratch;
    else if (key == "weights") words >> plan.weights;
    else if (key == "layers") plan.has_layers = static_cast<bool>(std::getline(words >> std::ws, plan.layers));
    else if (key == "host") {
        words >> name;
        refuse_if(!plan.find(name.c_str()), "no such tensor: " + name);
        for (Tensor& tensor : plan.tensors) tensor.on_host |= tensor.name == name;
    } else refuse_if(key != "end", "not of a plan: " + key);
    refuse_if(words.fail() && key != "tensor" && key != "range", "not complete: " + key);
    refuse_if(static_cast<bool>(words >> name), "too long: " + key);
}

// The lines of a plan:
//
//   fake plan 1
//   name WORD
//   version 1.7.1                        of the library that the plan is for
//   tensor NAME in|out TYPE LENGTH...    -1: dynamic. f32 f16 bf16 f8 i8 u8 i32 i64 bool
//   host NAME                            the tensor is in host memory
//   profile                              any number; the profile's ranges follow
//   range NAME MIN... | OPT... | MAX...  one for each dynamic input
//   scratch BYTES                        of every profile; default 0
//   weights BYTES                        that can be streamed; default 0
//   layers JSON                          rest of the line; default: no inspector report
//   end                                  the last line
Plan read_plan(std::string const& text) {
    Plan plan;
    std::istringstream lines(text);
    std::string line, key;
    refuse_if(!std::getline(lines, line) || line != "fake plan 1", "the magic tag does not match");
    while (key != "end" && std::getline(lines, line)) {
        std::istringstream words(line);
        words >> key;
        read_line(plan, key, words);
    }
    refuse_if(key != "end" || std::getline(lines, line), "its length is wrong");
    refuse_if(plan.name.empty() || plan.version.empty(), "no name or version");
    for (Tensor const& tensor : plan.tensors) {
        refuse_if(plan.find(tensor.name.c_str()) != &tensor, "twice: " + tensor.name);
        if (!tensor.is_input || !tensor.is_dynamic()) continue;
        refuse_if(plan.profiles.empty(), "no profile");
        for (auto const& ranges : plan.profiles) refuse_if(!ranges.count(tensor.name), "no range: " + tensor.name);
    }
    return plan;
}

}  // namespace
